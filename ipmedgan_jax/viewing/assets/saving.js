// Files that the browser saves.
import * as api from "./api.js";

const KEPT = 10000; // ms that a file is kept for the browser to begin

/** Saves a file of a fill. Error, and nothing is saved, if the server refuses it. */
export async function saveOfFill(name, fill) {
  const { blob, name: fileName } = await api.getSaved(name, fill);
  saveBlob(blob, fileName);
}

export function saveBlob(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT);
}
