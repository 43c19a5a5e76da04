// Opening a scan: chosen or dropped files go to the server, which says what they are.
import * as api from "./api.js";
import { chosen, guarded, say } from "./messages.js";

/** Sends files to the server and opens them. Answers the scan, or null if the user chose none of several series. */
export async function upload(files) {
  if (!files.length) throw new Error("Nothing was dropped or chosen.");
  const { upload: number } = await api.beginUpload();
  const names = new Set();
  for (const [index, { name, file }] of files.entries()) {
    say(files.length > 1 ? `Reading file ${index + 1} of ${files.length}…` : `Reading ${name}…`);
    await api.sendFile(number, names.has(name) ? `${index + 1}_${name}` : name, file); // folders of a series may repeat names
    names.add(name);
  }
  say("Opening the scan…");
  const answer = await api.openUpload(number);
  if (answer.scan) return answer.scan;
  const choices = answer.choose.map((series) => ({
    value: String(series.number),
    text: `${series.number}: ${series.description || "no description"}, ${series.images} images`,
  }));
  const series = await chosen("Which series?", choices);
  return series === null ? null : (await api.openUpload(number, series)).scan;
}

/** Files of an input: [{name, file}]. */
const fromInput = (input) => Array.from(input.files, (file) => ({ name: file.name, file }));

/** Files of a drop, with those in dropped folders: [{name, file}]. The entries must be taken while the event is handled. */
async function fromDrop(transfer) {
  const entries = Array.from(transfer.items ?? [], (item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return Array.from(transfer.files, (file) => ({ name: file.name, file }));
  const files = [];
  for (const entry of entries) await collect(entry, files);
  return files;
}

async function collect(entry, files) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    if (!file.name.startsWith(".")) files.push({ name: file.name, file });
    return;
  }
  const reader = entry.createReader();
  for (let batch = await read(reader); batch.length; batch = await read(reader))
    for (const inner of batch) await collect(inner, files);
}

const read = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));

/** Calls for the files that are chosen with the input of an id. */
export function onFiles(id, action) {
  const input = document.getElementById(id);
  input.addEventListener("change", () => {
    const files = fromInput(input);
    input.value = ""; // the same file may be chosen again
    if (files.length) guarded(() => action(files));
  });
}

/** Calls with a promise of the files that are dropped anywhere. */
export function onDrop(action) {
  const lift = (isOver) => document.body.classList.toggle("dropping", isOver);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    lift(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && lift(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    lift(false);
    const files = fromDrop(event.dataTransfer); // taken now: the event keeps them no longer
    guarded(() => action(files));
  });
}
