"use strict";
// The report of fills: its keys and buttons, and its start.

function toggle(id, className) {
  const on = document.body.classList.toggle(className);
  byId(id).setAttribute("aria-pressed", String(on));
  byId("legend").hidden = !document.body.classList.contains("differences");
}

const SWITCHES = { outline: "outlines", difference: "differences", zoom: "zoomed" };

/** Returns what a key does to the scan that is looked at; if none is in sight, it shows one, and does nothing to it. */
function withCurrent(action) {
  return () => {
    follow();
    if (current) action(current);
    else move(1);
  };
}

const KEYS = {
  j: () => move(1),
  ArrowDown: () => move(1),
  k: () => move(-1),
  ArrowUp: () => move(-1),
  " ": withCurrent((scan) => switchPictures(cards.get(scan.key))),
  p: withCurrent((scan) => setReview(scan, { verdict: "pass" })),
  f: withCurrent((scan) => setReview(scan, { verdict: "fail" })),
  u: withCurrent((scan) => setReview(scan, { verdict: "" })),
  n: withCurrent((scan) => cards.get(scan.key).querySelector(".review input").focus()),
  d: () => toggle("difference", SWITCHES.difference),
  o: () => toggle("outline", SWITCHES.outline),
  z: () => toggle("zoom", SWITCHES.zoom),
};

function leave(field) {
  if (field.matches("select")) field.blur();
  if (field.matches("input")) field.closest(".scan").focus({ preventScroll: true });
}

/** Leaves a select after a choice by mouse, so that keys act on the scans again; the arrow keys need it to stay. */
function leaveAfterChoice(select) {
  let byMouse = false;
  select.addEventListener("pointerdown", () => { byMouse = true; });
  select.addEventListener("keydown", () => { byMouse = false; });
  select.addEventListener("change", () => byMouse && select.blur());
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  if (event.key === "Escape") leave(target);
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
for (const id of ["sort", "filter"]) leaveAfterChoice(byId(id));
byId("csv").addEventListener("click", download);
main.addEventListener("focusin", (event) => select(scanOf(event.target.closest(".scan")), false));
addEventListener("scroll", () => requestAnimationFrame(follow), { passive: true });
addEventListener("storage", readReviews);
document.addEventListener("keydown", pressed);
document.addEventListener("keyup", (event) => event.key === " " && event.target.matches(".frame") && event.preventDefault());
byId("storage").hidden = storageWorks;
arrange();
showProgress();
