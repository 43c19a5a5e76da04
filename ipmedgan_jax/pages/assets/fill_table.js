"use strict";
// The reviews and figures as a CSV file (RFC 4180).

function field(value) {
  let text = String(value);
  if (typeof value === "string" && /^[=+\-@\t\r\n]/.test(text)) text = `'${text}`; // a spreadsheet would compute it
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv() {
  const parts = ["step", "slice", "rough", "flat", "range"];
  const rows = [["name", "number", "state", "verdict", "note", "figure", "worst_part", ...parts, "voxels", "ml", "warnings"]];
  for (const scan of data.scans) {
    const found = scan.plausibility || { figure: "", worst_part: "", parts: {} };
    const { verdict, note } = review(scan);
    rows.push([
      scan.name, scan.number, scan.state, verdict, note, found.figure ?? "", found.worst_part ?? "", ...parts.map((part) => found.parts[part] ?? ""),
      scan.voxels ?? 0, Number((scan.ml ?? 0).toPrecision(4)), [...scan.warnings, ...(scan.reason ? [scan.reason] : [])].join("; "),
    ]);
  }
  const text = rows.map((row) => row.map(field).join(",") + "\r\n").join("");
  return /[^\0-\x7f]/.test(text) ? `\ufeff${text}` : text; // Excel takes UTF-8 without this mark for another coding
}

function download() {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
  link.download = "fills.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
