// The painted hole: what is drawn of it, what is known about it, and its files.
import * as api from "./api.js";
import { Drawing } from "./drawing.js";
import { gzipped, unpackedMask } from "./gzip.js";
import { fromFileOrder, maskFile, toFileOrder } from "./mask_file.js";
import { chosen, confirmed, listLines, say } from "./messages.js";
import { Painter } from "./painter.js";
import { saveBlob } from "./saving.js";

const find = (id) => document.getElementById(id);

export class Hole {
  drawing = null;
  painter = null;
  #header = null; // the first bytes of the scan's file
  #opened = 0; // version of the drawing that came from a mask file
  #saved = new Set(); // versions of the drawing that need no question before they are lost

  /** desk: {viewer, scan, scans, toolBar, result}. */
  constructor(desk) {
    this.desk = desk;
  }

  /** Begins with an empty hole in the scan that the viewer shows, of which `bytes` are the file. */
  begin(bytes) {
    const { viewer } = this.desk;
    const drawing = new Drawing(viewer.dims);
    this.#header = bytes.slice(0, 544);
    this.drawing = drawing;
    this.painter = new Painter(drawing, viewer);
    viewer.useDrawing(drawing);
    const draw = drawing.changed;
    drawing.changed = (box) => {
      draw(box);
      this.#tell();
    };
    this.#saved = new Set([drawing.version]);
    this.#opened = 0;
    listLines("mask-warnings", []);
    this.#tell();
  }

  get hasUnsaved() {
    return this.drawing !== null && this.drawing.count > 0 && !this.#saved.has(this.drawing.version);
  }

  markSaved(version) {
    this.#saved.add(version);
  }

  #tell() {
    const { count, version } = this.drawing;
    const ml = count * this.desk.viewer.voxelMl;
    find("hole-size").textContent = count ? `${count} voxels, ${ml.toPrecision(3)} ml` : "Nothing is painted yet.";
    for (const id of ["fill", "save-drawing"]) find(id).disabled = count === 0;
    find("mask-warnings").hidden = count === 0 || version < this.#opened;
    this.desk.toolBar.showUndo();
    this.desk.result.drawingChanged(version);
  }

  /** The hole as a NIfTI file in the scan's own grid. */
  get bytes() {
    const { start, step } = this.desk.viewer.fileOrder;
    return maskFile(this.#header, toFileOrder(this.drawing.bits, this.drawing.dims, start, step));
  }

  async save() {
    const { version } = this.drawing;
    const name = this.desk.scan.name.replace(/\.nii(\.gz)?$/i, "").replace(/[^\w.-]+/g, "_");
    saveBlob(await gzipped(this.bytes), `${name}_mask.nii.gz`);
    this.markSaved(version);
    say("The hole is saved.");
  }

  // ---- from a file

  /** Makes the voxels of a mask file the hole: those that `inpaint` would fill. */
  async open(file) {
    const { drawing, desk } = this;
    say(`Reading ${file.name}…`);
    const { answer, labels } = await this.#labelled(file, desk.scan);
    if (!answer || !(await this.#mayReplace())) return say("");
    if (drawing !== this.drawing || !desk.isOpen) throw new Error("Another scan was opened meanwhile. Open the mask again.");
    await this.replace(answer.mask);
    this.markSaved(drawing.version);
    this.#opened = drawing.version;
    listLines("mask-warnings", answer.warnings);
    this.#tell();
    return say(`${file.name} is the hole now${labels ? `: ${named(labels)}` : ""}.`);
  }

  /** What the server reads in a mask file, and of several labels those that the user chose; no answer for none. */
  async #labelled(file, scan) {
    const answer = await api.openMask(file, scan);
    if (!answer.labels) return { answer };
    const all = answer.labels.map(({ label }) => label);
    const choices = answer.labels.map(({ label, name }) => ({ value: `${label}`, text: `Label ${label}${name && `: ${name}`}` }));
    choices.unshift({ value: all.join(","), text: `All ${all.length} labels as one hole` });
    const choice = await chosen(`Which label of ${file.name} is the hole?`, choices);
    if (choice === null) return {};
    const labels = choice.split(",");
    return { answer: await api.openMask(file, scan, labels), labels };
  }

  async #mayReplace() {
    const question = "Replace the hole that you painted by the mask? Undo brings it back.";
    return !this.drawing.count || confirmed(question, "Replace");
  }

  /** Makes voxels, as the server packs them, the hole; as one step of undo. */
  async replace(mask) {
    const { drawing } = this;
    const { start, step } = this.desk.viewer.fileOrder;
    const values = await unpackedMask(mask);
    drawing.replace(fromFileOrder(values, drawing.dims, start, step));
    this.#lookAt();
  }

  /** Moves the crosshair to the middle voxel of the hole. */
  #lookAt() {
    const { bits, count, dims } = this.drawing;
    const [nx, ny] = dims;
    let seen = 0;
    const index = bits.findIndex((bit) => bit && (seen += 1) > count / 2);
    if (index >= 0) this.desk.viewer.crosshair = [index % nx, Math.floor(index / nx) % ny, Math.floor(index / (nx * ny))];
  }
}

const named = (labels) => (labels.length > 1 ? `its ${labels.length} labels` : `its label ${labels[0]}`);
