"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("scans");
const byId = (id) => document.getElementById(id);
const cards = new Map();
let current = null;

// ------------------------------------------------------------------ elements

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

// ------------------------------------------------------------------ reviews, kept in this browser for this report alone

const storageKey = `ipmedgan-fills:${data.report}`;
let storageWorks = true;
const reviews = loadReviews();

function loadReviews() {
  try {
    const text = localStorage.getItem(storageKey);
    localStorage.setItem(storageKey, text === null ? "{}" : text);
    const saved = JSON.parse(text === null ? "{}" : text);
    return new Map(saved !== null && typeof saved === "object" ? Object.entries(saved) : []);
  } catch (error) {
    if (!(error instanceof SyntaxError)) storageWorks = false;
    return new Map();
  }
}

function saveReviews() {
  try {
    localStorage.setItem(storageKey, JSON.stringify(Object.fromEntries(reviews)));
  } catch {
    storageWorks = false;
  }
  byId("storage").hidden = storageWorks;
}

// A scan that was filled anew is another one: its old review no longer holds.
function reviewKey(scan) {
  return `${scan.key}:${scan.sidecar_sha256 || ""}`;
}

function review(scan) {
  const saved = reviews.get(reviewKey(scan));
  const given = saved !== null && typeof saved === "object" ? saved : {};
  return { verdict: ["pass", "fail"].includes(given.verdict) ? given.verdict : "", note: String(given.note || "") };
}

function setReview(scan, change) {
  reviews.set(reviewKey(scan), { ...review(scan), ...change });
  saveReviews();
  showReview(scan);
  showProgress();
}

function showReview(scan) {
  const card = cards.get(scan.key);
  const { verdict, note } = review(scan);
  card.dataset.verdict = verdict;
  for (const button of card.querySelectorAll(".review button")) {
    button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict));
  }
  const field = card.querySelector(".review input");
  if (field !== document.activeElement) field.value = note;
}

function showProgress() {
  const given = data.scans.map((scan) => review(scan).verdict);
  const count = (verdict) => given.filter((one) => one === verdict).length;
  const looked = count("pass") + count("fail");
  byId("progress").textContent = `${looked} of ${given.length} looked at (${count("pass")} pass, ${count("fail")} fail)`;
}

// ------------------------------------------------------------------ one scan

function layer(scan, plane, name) {
  const image = element("img", name === "before" ? "before-layer" : name);
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = "";
  image.width = scan.size[0];
  image.height = scan.size[1];
  image.style.width = `${(100 * scan.size[0]) / plane.width}%`;
  image.style.left = `${(-100 * plane.left) / plane.width}%`;
  image.src = `${encodeURIComponent(data.folder)}/${encodeURIComponent(scan.key)}/${name}.webp`;
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
  button.setAttribute("aria-label", `${plane.plane} slice ${plane.slice}${enlarged ? ", enlarged" : ""}: switch before and after`);
  const stack = element("div", "stack");
  const inner = element("div");
  inner.style.setProperty("--zoom", zoom);
  inner.style.setProperty("--x", `${100 * origin(left, right, plane.width, zoom)}%`);
  inner.style.setProperty("--y", `${100 * origin(top, bottom, plane.height, zoom)}%`);
  for (const name of ["before", "filled", "difference", "outline"]) inner.append(layer(scan, plane, name));
  stack.append(inner);
  button.append(stack, ...letters(scan, plane), element("span", "shown"));
  const caption = `${plane.plane}, slice ${plane.slice} of ${plane.slices}${enlarged ? ", enlarged" : ""}`;
  figure.append(button, element("figcaption", "", caption));
  return figure;
}

function letters(scan, plane) {
  const unsure = scan.placed ? "" : "?";
  return ["left", "right", "top", "bottom"].map((side, i) => {
    const letter = plane.letters[i];
    return element("span", `letter ${side}`, "RL".includes(letter) ? letter + unsure : letter);
  });
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
  views.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && startFlicker(card));
  views.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && stopFlicker(card));
  views.addEventListener("click", () => {
    clearInterval(flicker);
    card.classList.toggle("before");
    select(scan, false);
  });
}

function addFigure(scan, top) {
  const { figure, worst_part: worst, parts } = scan.plausibility;
  const grade = figure >= 2 ? " high" : figure >= 1.3 ? " raised" : "";
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
  note.setAttribute("aria-label", `Note on ${title(scan)}`);
  note.addEventListener("input", () => setReview(scan, { note: note.value }));
  note.addEventListener("focus", () => select(scan, false));
  row.append(note);
  card.append(row);
}

function title(scan) {
  return scan.name || "not filled";
}

function makeCard(scan) {
  const card = element("article", `scan ${scan.state}`);
  card.tabIndex = -1;
  card.id = scan.key;
  const top = element("div", "top");
  top.append(element("h2", "", title(scan)));
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

// ------------------------------------------------------------------ flicker

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

// ------------------------------------------------------------------ order, choice, moving

const ORDERS = {
  figure: (scan) => [rank(scan)],
  volume: (scan) => [-(scan.ml || 0)],
  warnings: (scan) => [-scan.warnings.length, rank(scan)],
  name: () => [],
};

function rank(scan) {
  if (scan.state === "failed") return -Infinity;
  return scan.state === "empty" ? 1 : -scan.plausibility.figure;
}

const FILTERS = {
  all: () => true,
  open: (scan) => !review(scan).verdict,
  fail: (scan) => review(scan).verdict === "fail",
  pass: (scan) => review(scan).verdict === "pass",
  note: (scan) => review(scan).note !== "",
  warned: (scan) => scan.warnings.length > 0,
  unfilled: (scan) => scan.state !== "filled",
};

function compare(first, second) {
  for (let i = 0; i < first.length; i++) {
    if (first[i] !== second[i]) return first[i] < second[i] ? -1 : 1;
  }
  return 0;
}

const names = new Intl.Collator("en", { numeric: true });

function arrange() {
  const values = ORDERS[byId("sort").value];
  const order = [...data.scans].sort((a, b) => compare(values(a), values(b)) || names.compare(title(a), title(b)));
  main.append(...order.map((scan) => cards.get(scan.key)));
  choose();
}

function choose() {
  const fits = FILTERS[byId("filter").value];
  for (const scan of data.scans) cards.get(scan.key).hidden = !fits(scan);
  byId("none").hidden = data.scans.some((scan) => !cards.get(scan.key).hidden);
}

function select(scan, scroll) {
  if (current) cards.get(current.key).classList.remove("current");
  current = scan;
  const card = cards.get(scan.key);
  card.classList.add("current");
  if (!scroll) return;
  card.scrollIntoView({ block: "start" });
  card.focus({ preventScroll: true });
}

function move(by) {
  const visible = [...main.children].filter((card) => !card.hidden);
  if (!visible.length) return;
  const place = current ? visible.indexOf(cards.get(current.key)) : -1;
  const next = place < 0 ? 0 : Math.min(visible.length - 1, Math.max(0, place + by));
  select(data.scans.find((scan) => scan.key === visible[next].id), true);
}

// ------------------------------------------------------------------ CSV (RFC 4180)

function field(value) {
  let text = String(value);
  if (typeof value === "string" && /^[=+\-@\t\r\n]/.test(text)) text = `'${text}`; // a spreadsheet would compute it
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv() {
  const parts = ["step", "slice", "rough", "flat", "range"];
  const rows = [["name", "state", "verdict", "note", "figure", "worst_part", ...parts, "voxels", "ml", "warnings"]];
  for (const scan of data.scans) {
    const found = scan.plausibility || { figure: "", worst_part: "", parts: {} };
    const { verdict, note } = review(scan);
    rows.push([
      title(scan), scan.state, verdict, note, found.figure, found.worst_part, ...parts.map((part) => found.parts[part] ?? ""),
      scan.voxels ?? 0, scan.ml ?? 0, [...scan.warnings, ...(scan.reason ? [scan.reason] : [])].join("; "),
    ]);
  }
  return rows.map((row) => row.map(field).join(",") + "\r\n").join("");
}

function download() {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
  link.download = "fills.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ------------------------------------------------------------------ keys and buttons

function toggle(id, className) {
  const on = document.body.classList.toggle(className);
  byId(id).setAttribute("aria-pressed", String(on));
  byId("legend").hidden = !document.body.classList.contains("differences");
}

const SWITCHES = { outline: "outlines", difference: "differences", zoom: "zoomed" };

function withCurrent(action) {
  return () => {
    if (!current) move(1);
    if (current) action(current);
  };
}

const KEYS = {
  j: () => move(1),
  ArrowDown: () => move(1),
  k: () => move(-1),
  ArrowUp: () => move(-1),
  " ": withCurrent((scan) => {
    clearInterval(flicker);
    cards.get(scan.key).classList.toggle("before");
  }),
  p: withCurrent((scan) => setReview(scan, { verdict: "pass" })),
  f: withCurrent((scan) => setReview(scan, { verdict: "fail" })),
  u: withCurrent((scan) => setReview(scan, { verdict: "" })),
  n: withCurrent((scan) => cards.get(scan.key).querySelector(".review input").focus()),
  d: () => toggle("difference", SWITCHES.difference),
  o: () => toggle("outline", SWITCHES.outline),
  z: () => toggle("zoom", SWITCHES.zoom),
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  if (event.key === "Escape" && target.matches("input")) cards.get(current.key).focus({ preventScroll: true });
  if (target.matches("input, textarea, select")) return;
  if (event.key === " " && target.matches("button:not(.frame), summary, a")) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

// ------------------------------------------------------------------ start

for (const scan of data.scans) {
  cards.set(scan.key, makeCard(scan));
  showReview(scan);
}
document.body.classList.add("outlines");
for (const [id, className] of Object.entries(SWITCHES)) byId(id).addEventListener("click", () => toggle(id, className));
byId("sort").addEventListener("change", arrange);
byId("filter").addEventListener("change", choose);
byId("csv").addEventListener("click", download);
document.addEventListener("keydown", pressed);
document.addEventListener("keyup", (event) => event.key === " " && event.target.matches(".frame") && event.preventDefault());
byId("storage").hidden = storageWorks;
arrange();
showProgress();
