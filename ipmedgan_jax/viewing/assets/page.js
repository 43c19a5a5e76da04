// The page: puts its parts together.
import * as api from "./api.js";
import { Drawing } from "./drawing.js";
import { Filling } from "./filling.js";
import { Gestures } from "./gestures.js";
import { Keys } from "./keys.js";
import { gzipped, maskFile, plainBytes, toFileOrder } from "./mask_file.js";
import { clearError, confirmed, guarded, say, showError } from "./messages.js";
import { onDrop, onFiles, upload } from "./opening.js";
import { Overlay } from "./overlay.js";
import { Painter, settings } from "./painter.js";
import { element, Result } from "./result.js";
import { AXES } from "./shapes.js";
import { ToolBar } from "./toolbar.js";
import { Viewer } from "./viewer.js";
import { ViewBar } from "./viewbar.js";

const find = (id) => document.getElementById(id);

class Desk {
  canvas = find("picture");
  viewer = new Viewer();
  drawing = null;
  painter = null;
  scan = null;
  #plane = 0;
  #saved = 0; // version of the drawing that was saved last
  #isFilling = false;

  get isOpen() {
    return this.painter !== null;
  }
  get plane() {
    return this.#plane;
  }

  set plane(plane) {
    this.#plane = plane;
    this.#follow();
    this.viewBar.showPlane(plane);
    this.overlay.draw();
  }

  async start() {
    this.overlay = new Overlay(find("overlay"), this);
    this.filling = new Filling();
    this.toolBar = new ToolBar(this);
    this.viewBar = new ViewBar(this);
    this.result = new Result(this);
    await this.viewer.attach(this.canvas);
    this.viewer.moved = () => {
      this.#follow();
      this.viewBar.showPlace();
    };
    this.viewer.drawn = () => this.overlay.draw();
    this.gestures = new Gestures(this.canvas, this);
    this.keys = new Keys(this);
    this.#listen();
    const state = await api.getState();
    this.filling.offer(state);
    find("version").textContent = `ipmedgan ${state.version}`;
    if (state.scan) await this.#show(state.scan);
    document.body.dataset.ready = "yes";
  }

  // ---- opening

  async openFiles(files) {
    if (this.#isFilling) throw new Error("A fill is running. Cancel it, or wait until it is done.");
    if (!(await this.#mayDrop())) return;
    const scan = await upload(await files);
    if (scan) await this.#show(scan);
    else say("");
  }

  async #mayDrop() {
    if (!this.hasUnsaved) return true;
    return confirmed("The hole that you painted is not saved. Open another scan and lose it?", "Lose it and open");
  }

  get hasUnsaved() {
    return this.isOpen && this.drawing.count > 0 && this.drawing.version !== this.#saved;
  }

  async #show(scan) {
    say("Loading the scan…");
    const bytes = await plainBytes(await api.getBytes("scan.nii.gz"));
    if (this.isOpen) this.result.hide();
    this.header = bytes.slice(0, 544);
    this.scan = scan;
    await this.viewer.open(bytes);
    this.#useDrawing(new Drawing(this.viewer.dims));
    this.viewBar.showScan();
    this.viewer.crosshair = this.viewer.dims.map((size) => Math.floor(size / 2));
    this.#describe(scan);
    await this.viewer.settled();
    document.body.classList.add("open");
    document.body.dataset.scan = scan.number;
    say(`${scan.name} is open.`);
  }

  #useDrawing(drawing) {
    this.drawing = drawing;
    this.painter = new Painter(drawing, this.viewer);
    this.viewer.useDrawing(drawing);
    const upload = drawing.changed;
    drawing.changed = (box) => {
      upload(box);
      this.drawingChanged();
    };
    this.#saved = drawing.version;
    this.drawingChanged();
  }

  #describe({ name, shape, spacing_mm, orientation, modality, warnings }) {
    find("scan-name").textContent = name;
    find("scan-facts").textContent = [
      `${shape.join(" x ")} voxels`,
      `${spacing_mm.map((mm) => Number(mm.toFixed(2))).join(" x ")} mm`,
      orientation,
      modality,
    ]
      .filter(Boolean)
      .join(", ");
    find("scan-warnings").replaceChildren(...(warnings ?? []).map((line) => element("li", line)));
    document.title = `${name} · ipmedgan view`;
  }

  async openMask(file) {
    const bits = await this.viewer.readMask(await plainBytes(await file.arrayBuffer()));
    if (!bits.includes(1)) throw new Error("Every voxel of the mask is 0.");
    if (
      this.drawing.count &&
      !(await confirmed("Replace the hole that you painted by the mask? Undo brings it back.", "Replace"))
    )
      return;
    this.drawing.replace(bits);
    this.#lookAtHole();
    say(`${file.name} is the hole now.`);
  }

  /** Moves the crosshair to the middle voxel of the hole. */
  #lookAtHole() {
    const { bits, count, dims } = this.drawing;
    let seen = 0;
    const index = bits.findIndex((bit) => bit && (seen += 1) > count / 2);
    if (index >= 0)
      this.viewer.crosshair = [
        index % dims[0],
        Math.floor(index / dims[0]) % dims[1],
        Math.floor(index / (dims[0] * dims[1])),
      ];
  }

  // ---- the hole

  drawingChanged() {
    const { count, version } = this.drawing;
    const ml = (count * this.viewer.spacing.reduce((a, b) => a * b)) / 1000;
    find("hole-size").textContent = count ? `${count} voxels, ${ml.toPrecision(3)} ml` : "Nothing is painted yet.";
    for (const id of ["fill", "save-drawing"]) find(id).disabled = count === 0;
    this.toolBar.showUndo();
    this.result.drawingChanged(version);
  }

  /** The hole as a NIfTI file in the scan's own grid. */
  maskBytes() {
    const { start, step } = this.viewer.fileOrder;
    return maskFile(this.header, toFileOrder(this.drawing.bits, this.drawing.dims, start, step));
  }

  async saveDrawing() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await gzipped(this.maskBytes()));
    link.download = `${this.scan.name.replace(/\.nii(\.gz)?$/, "").replace(/[^\w.-]+/g, "_")}_mask.nii.gz`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    this.#saved = this.drawing.version;
    say("The hole is saved.");
  }

  // ---- the fill

  async fill() {
    if (this.#isFilling || !this.isOpen) return;
    if (!this.drawing.count) throw new Error("Paint the hole first: there is nothing to fill.");
    const asked = { ...this.filling.settings, scan: String(this.scan.number) };
    const { version } = this.drawing;
    this.#isFilling = true;
    try {
      const fill = await this.filling.run(await gzipped(this.maskBytes()), asked);
      if (fill) await this.result.show(fill, version);
    } finally {
      this.#isFilling = false;
    }
  }

  // ---- what keys and buttons do

  act(name) {
    const size = (factor) => this.toolBar.setSize(settings.size * factor);
    const actions = {
      help: () => find("help").showModal(),
      fill: () => guarded(() => this.fill()),
      undo: () => this.undo(),
      redo: () => this.redo(),
      smaller: () => size(1 / 1.3),
      larger: () => size(1.3),
      zoomIn: () => this.viewer.zoom(1.25),
      zoomOut: () => this.viewer.zoom(0.8),
      resetView: () => this.viewer.resetView(),
      flicker: () => this.result.toggle("flicker"),
      deviation: () => this.result.toggle("deviation"),
      hole: () => this.result.nextLook(),
    };
    if (actions[name]) actions[name]();
    else this.viewBar.keyView(name);
  }

  undo() {
    this.drawing?.undo();
  }
  redo() {
    this.drawing?.redo();
  }
  clear() {
    this.drawing?.clear();
  }

  #follow() {
    if (this.painter?.follow(this.#plane, this.viewer.crosshair)) say("The shape that was begun is dropped: the slice changed.");
  }

  setTool(tool) {
    this.toolBar.setTool(tool);
  }
  compare(isBefore) {
    this.result.hold(isBefore);
  }
  pointerMoved(spot) {
    this.overlay.hover(spot);
  }
  windowChanged() {
    this.viewBar.showWindow();
  }

  /** Moves through the slices of a plane. */
  scroll(plane, slices) {
    const voxel = this.viewer.crosshair;
    voxel[AXES[plane][2]] += slices;
    this.viewer.crosshair = voxel;
    this.plane = plane;
  }

  #listen() {
    const onClick = (id, action) => find(id).addEventListener("click", () => guarded(action));
    onClick("open-file", () => find("file").click());
    onClick("open-folder", () => find("folder").click());
    onClick("open-mask", () => find("mask").click());
    onClick("save-drawing", () => this.saveDrawing());
    onClick("fill", () => this.fill());
    onClick("cancel", () => this.filling.cancel());
    onClick("show-help", () => find("help").showModal());
    find("error-close").addEventListener("click", clearError);
    find("save-mask").addEventListener("click", () => {
      this.#saved = this.drawing.version;
    });
    for (const id of ["file", "folder"]) onFiles(id, (files) => this.openFiles(files));
    onFiles("mask", ([{ file }]) => this.openMask(file));
    onDrop((files) => this.openFiles(files));
    for (const name of ["focus", "blur"]) this.canvas.addEventListener(name, () => this.overlay.draw());
    window.addEventListener("beforeunload", (event) => this.hasUnsaved && event.preventDefault());
  }
}

const desk = new Desk();
window.desk = desk; // for tests and the console
desk.start().catch((error) => {
  say("");
  showError(error);
});
