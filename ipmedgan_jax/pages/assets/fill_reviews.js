"use strict";
// Reviews of scans, kept in this browser for this report alone. Other tabs may show the same report: each change is added to
// what is kept at that moment.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const cards = new Map(); // the elements of the scans, by their keys

const storageKey = `ipmedgan-fills:${data.report}`;
let storageWorks = true;
let reviews = keptReviews() ?? new Map();

/** Returns the reviews that the browser keeps; null if it keeps nothing. */
function keptReviews() {
  try {
    const text = localStorage.getItem(storageKey) ?? "{}";
    localStorage.setItem(storageKey, text);
    const saved = JSON.parse(text);
    return new Map(saved !== null && typeof saved === "object" ? Object.entries(saved) : []);
  } catch (error) {
    if (error instanceof SyntaxError) return new Map();
    storageWorks = false;
    return null;
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
  const kept = keptReviews();
  reviews = kept ?? reviews;
  reviews.set(reviewKey(scan), { ...review(scan), ...change });
  saveReviews();
  showReview(scan);
  showProgress();
}

/** Shows what another tab changed. */
function readReviews(event) {
  if (event.key !== storageKey && event.key !== null) return;
  reviews = keptReviews() ?? reviews;
  data.scans.forEach(showReview);
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
