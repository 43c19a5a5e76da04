"use strict";
// The order of the scans, which of them are shown, and which one is the current one.

const main = byId("scans");

const ORDERS = {
  figure: (scan) => [rank(scan)],
  volume: (scan) => [-(scan.ml || 0)],
  warnings: (scan) => [-scan.warnings.length, rank(scan)],
  name: () => [],
};

function rank(scan) {
  if (scan.state === "failed") return -Infinity;
  if (scan.state === "empty") return 1;
  return scan.plausibility.figure === null ? -1e9 : -scan.plausibility.figure; // what cannot be measured comes first
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
  const order = [...data.scans].sort((a, b) => compare(values(a), values(b)) || names.compare(a.name, b.name));
  main.append(...order.map((scan) => cards.get(scan.key)));
  choose();
}

function choose() {
  const fits = FILTERS[byId("filter").value];
  for (const scan of data.scans) cards.get(scan.key).hidden = !fits(scan);
  byId("none").hidden = data.scans.some((scan) => !cards.get(scan.key).hidden);
  if (current && cards.get(current.key).hidden) unselect();
}

// ------------------------------------------------------------------ the current scan: that which keys act on

let current = null;

function unselect() {
  if (current) cards.get(current.key).classList.remove("current");
  current = null;
}

function select(scan, scroll) {
  unselect();
  current = scan;
  const card = cards.get(scan.key);
  card.classList.add("current");
  if (!scroll) return;
  card.scrollIntoView({ block: "start" });
  card.focus({ preventScroll: true });
}

const scanOf = (card) => data.scans.find((scan) => scan.key === card.id);

/** Returns how many pixels of a card are in sight; 0 for a hidden one. */
function inSight(card) {
  if (card.hidden) return 0;
  const bar = byId("bar");
  const top = getComputedStyle(bar).position === "sticky" ? Math.max(0, bar.getBoundingClientRect().bottom) : 0;
  const box = card.getBoundingClientRect();
  return Math.max(0, Math.min(box.bottom, innerHeight) - Math.max(box.top, top));
}

/** Whether enough of a card is in sight that keys may act on it: half of it, or half of the window. */
function isInSight(card) {
  return inSight(card) >= Math.min(card.getBoundingClientRect().height, innerHeight) / 2;
}

/** Returns the card that is most in sight; null if none is. */
function mostInSight() {
  const pixels = new Map([...main.children].map((card) => [card, inSight(card)]));
  const most = Math.max(0, ...pixels.values());
  return most > 0 ? [...main.children].find((card) => pixels.get(card) === most) : null;
}

/** Makes that scan the current one which is looked at: the focused one, else the current one, else that most in sight. */
function follow() {
  const focused = document.activeElement?.closest(".scan");
  if (focused && isInSight(focused)) select(scanOf(focused), false);
  else if (!current || !isInSight(cards.get(current.key))) {
    const card = mostInSight();
    if (card) select(scanOf(card), false);
    else unselect();
  }
}

function move(by) {
  const visible = [...main.children].filter((card) => !card.hidden);
  if (!visible.length) return;
  if (current) follow();
  const place = visible.indexOf(current ? cards.get(current.key) : mostInSight());
  const next = current ? Math.min(visible.length - 1, Math.max(0, place + by)) : Math.max(0, place);
  select(scanOf(visible[next]), true);
}
