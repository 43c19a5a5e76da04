"use strict";
// The card of a scan: its pictures before and after, its figure, what is known of the fill, and the buttons of its review.

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

function layer(scan, plane, name) {
  const image = element("img", name === "before" ? "before-layer" : name);
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = "";
  image.width = scan.size[0];
  image.height = scan.size[1];
  image.style.width = `${(100 * scan.size[0]) / plane.width}%`;
  image.style.left = `${(-100 * plane.left) / plane.width}%`;
  image.src = `${data.folder}/${encodeURIComponent(scan.key)}/${name}.webp`;
  return image;
}

function zoomOf(plane) {
  const [left, top, right, bottom] = plane.box;
  const share = Math.max((right - left) / plane.width, (bottom - top) / plane.height);
  return Math.min(6, Math.max(1, 0.6 / share));
}

// Where the enlarged picture is held fast, so that the middle of the mask comes to the middle as far as the edges allow.
function origin(start, end, length, zoom) {
  if (zoom <= 1) return 0.5;
  const middle = (start + end) / 2 / length;
  return Math.min(1, Math.max(0, (zoom * middle - 0.5) / (zoom - 1)));
}

function frame(scan, plane, enlarged) {
  const figure = element("figure", enlarged ? "view enlarged" : "view");
  const button = element("button", "frame");
  const [left, top, right, bottom] = plane.box;
  const zoom = zoomOf(plane);
  button.type = "button";
  button.style.aspectRatio = `${plane.width} / ${plane.height}`;
  button.setAttribute("aria-label", `${plane.plane}${enlarged ? ", enlarged" : ""}: switch before and after`);
  const stack = element("div", "stack");
  const inner = element("div");
  inner.style.setProperty("--zoom", zoom);
  inner.style.setProperty("--x", `${100 * origin(left, right, plane.width, zoom)}%`);
  inner.style.setProperty("--y", `${100 * origin(top, bottom, plane.height, zoom)}%`);
  for (const name of ["before", "filled", "difference", "outline"]) inner.append(layer(scan, plane, name));
  stack.append(inner);
  button.append(stack, ...letters(scan, plane), element("span", "shown"));
  figure.append(button, element("figcaption", "", `${plane.plane}${enlarged ? ", enlarged" : ""}${placeOf(plane)}`));
  return figure;
}

function placeOf(plane) {
  const mm = plane.mm.length ? ` · ${plane.mm.join(", ")} mm` : "";
  return mm + (plane.voxel.length ? ` · voxel ${plane.voxel.join(", ")}` : "");
}

function letters(scan, plane) {
  const unsure = scan.placed ? "" : "?"; // the header does not say how the scan lies
  return ["left", "right", "top", "bottom"].map((side, i) => element("span", `letter ${side}`, plane.letters[i] + unsure));
}

// The plane with the fewest slices is the one in which the scan was taken; axial among equals.
function sharpest(scan) {
  return scan.planes.reduce((best, plane) => (plane.slices < best.slices ? plane : best));
}

function addViews(scan, card) {
  const views = element("div", "views");
  const first = sharpest(scan);
  const pair = element("div", "pair");
  pair.append(...scan.planes.filter((plane) => plane !== first).map((plane) => frame(scan, plane, false)));
  views.append(frame(scan, first, true), frame(scan, first, false), pair);
  card.append(views);
  if (scan.left_out.length) {
    card.append(element("p", "faint", `Not shown: ${scan.left_out.join(", ")}; the scan is too thin in that direction.`));
  }
  views.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && startFlicker(card));
  views.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && stopFlicker(card));
  views.addEventListener("click", () => {
    switchPictures(card);
    select(scan, false);
  });
}

function addFigure(scan, top) {
  const { figure, worst_part: worst, parts, unmeasured } = scan.plausibility;
  if (figure === null) {
    top.append(element("span", "figure high", "no figure"), element("span", "parts faint", unmeasured));
    return;
  }
  const grade = figure >= data.limits.far ? " high" : figure > data.limits.ordinary ? " raised" : "";
  top.append(element("span", `figure${grade}`, `figure ${figure.toFixed(2)}`));
  const list = element("span", "parts faint");
  for (const [name, value] of Object.entries(parts)) {
    list.append(element("span", name === worst ? "worst" : "", `${name} ${value.toFixed(2)}`));
  }
  top.append(list);
}

function addInfo(scan, card) {
  const info = element("div", "info");
  info.append(element("span", "", `${millilitres(scan.ml)} ml, ${counted(scan.voxels, "voxel")}, ${counted(scan.slices, "slice")} filled`));
  const details = element("details", "settings");
  details.append(element("summary", "", "How it was filled"));
  const list = element("dl");
  for (const [name, text] of Object.entries(scan.fill)) list.append(element("dt", "", name), element("dd", "", text));
  details.append(list);
  info.append(details);
  card.append(info);
}

function millilitres(ml) {
  return ml >= 10 ? ml.toFixed(1) : ml.toPrecision(2);
}

function addReview(scan, card) {
  const row = element("div", "review");
  for (const [verdict, text] of [["pass", "Pass"], ["fail", "Fail"]]) {
    const button = element("button", "", text);
    button.type = "button";
    button.dataset.verdict = verdict;
    button.addEventListener("click", () => {
      select(scan, false);
      setReview(scan, { verdict: review(scan).verdict === verdict ? "" : verdict });
    });
    row.append(button);
  }
  const note = element("input");
  note.type = "text";
  note.placeholder = "Note";
  note.setAttribute("aria-label", `Note on ${scan.name}`);
  note.addEventListener("input", () => setReview(scan, { note: note.value }));
  note.addEventListener("focus", () => select(scan, false));
  row.append(note);
  card.append(row);
}

function makeCard(scan) {
  const card = element("article", `scan ${scan.state}`);
  card.tabIndex = -1;
  card.id = scan.key;
  const top = element("div", "top");
  top.append(element("h2", "", scan.name));
  card.append(top);
  if (scan.state === "filled") {
    addFigure(scan, top);
    addViews(scan, card);
    addInfo(scan, card);
  } else {
    card.append(element("p", "reason", scan.state === "failed" ? `Failed: ${scan.reason}` : `Nothing filled: ${scan.reason}`));
  }
  if (scan.warnings.length) {
    const list = element("ul", "warnings");
    list.append(...scan.warnings.map((text) => element("li", "", text)));
    card.append(list);
  }
  addReview(scan, card);
  return card;
}

const calm = matchMedia("(prefers-reduced-motion: reduce)");
let flicker = 0;

function startFlicker(card) {
  stopFlicker(card);
  card.classList.add("before");
  if (!calm.matches) flicker = setInterval(() => card.classList.toggle("before"), 450);
}

function stopFlicker(card) {
  clearInterval(flicker);
  card.classList.remove("before");
}

function switchPictures(card) {
  clearInterval(flicker);
  card.classList.toggle("before");
}
