"use strict";
// Reviews of scans, kept in this browser for this report alone, each under a key of its own: other tabs may show the same
// report, and a tab may see what another one wrote late or never (Chromium does so now and then after a reload of a file). So
// nothing is written when a page is opened, and a change writes the review of its scan alone.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const cards = new Map(); // the elements of the scans, by their keys

const storageKey = `ipmedgan-fills:${data.report}`;
const reviews = new Map(); // reviews by the keys of the storage, as this tab knows them
let storageWorks = browserKeeps();
data.scans.forEach(readReview);

/** Tells whether the browser lets the page keep anything. */
function browserKeeps() {
  try {
    localStorage.setItem(storageKey, "");
    return true;
  } catch {
    return false;
  }
}

// A scan that was filled anew is another one: its old review no longer holds.
function reviewKey(scan) {
  return `${storageKey}:${scan.key}:${scan.sidecar_sha256 || ""}`;
}

/** Reads the review that the browser keeps of a scan; keeps to what this tab knows if there is none or it is damaged. */
function readReview(scan) {
  if (!storageWorks) return;
  const key = reviewKey(scan);
  try {
    const kept = JSON.parse(localStorage.getItem(key));
    if (kept !== null) reviews.set(key, kept);
  } catch (error) {
    if (!(error instanceof SyntaxError)) storageWorks = false;
  }
}

function review(scan) {
  const { verdict, note } = reviews.get(reviewKey(scan)) ?? {};
  return { verdict: ["pass", "fail"].includes(verdict) ? verdict : "", note: String(note || "") };
}

function setReview(scan, change) {
  readReview(scan);
  const changed = { ...review(scan), ...change };
  reviews.set(reviewKey(scan), changed);
  try {
    localStorage.setItem(reviewKey(scan), JSON.stringify(changed));
  } catch {
    storageWorks = false;
  }
  byId("storage").hidden = storageWorks;
  showReview(scan);
  showProgress();
}

/** Shows what another tab changed; a null key means that everything was removed, which this tab keeps. */
function readReviews(event) {
  const scan = data.scans.find((one) => reviewKey(one) === event.key);
  if (!scan) return;
  readReview(scan);
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
