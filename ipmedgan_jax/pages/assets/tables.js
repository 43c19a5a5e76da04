"use strict";
// Tables of class "sortable": a button in each heading sorts by that column: ascending, descending, and as it was.

const NEXT_ORDER = { none: "ascending", ascending: "descending", descending: "none" };

function sortKey(row, column) {
  const cell = row.cells[column];
  if (!cell.classList.contains("number")) return cell.textContent;
  return cell.dataset.sort === undefined ? null : Number(cell.dataset.sort);
}

function compareKeys(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null); // cells without a number are always last
  return sign * (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
}

function sortTable(table, column, order) {
  const rows = [...table.tBodies[0].rows];
  rows.forEach((row, i) => { row.dataset.place = row.dataset.place ?? i; });
  rows.sort((a, b) => {
    const asItWas = Number(a.dataset.place) - Number(b.dataset.place);
    if (order === "none") return asItWas;
    return compareKeys(sortKey(a, column), sortKey(b, column), order === "ascending" ? 1 : -1) || asItWas;
  });
  table.tBodies[0].append(...rows);
  [...table.tHead.rows[0].cells].forEach((heading, i) => heading.setAttribute("aria-sort", i === column ? order : "none"));
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sortTable(table, column, NEXT_ORDER[heading.getAttribute("aria-sort")]));
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
