// The page: puts its parts together.
import * as api from "./api.js";
import { Filling, isRunning } from "./filling.js";
import { FillSettings } from "./fill_settings.js";
import { Gestures } from "./gestures.js";
import { gzipped } from "./gzip.js";
import { Hole } from "./hole.js";
import { Keys } from "./keys.js";
import { clearError, guarded, say, showError } from "./messages.js";
import { onDrop, onFiles } from "./opening.js";
import { Overlay } from "./overlay.js";
import { settings } from "./painter.js";
import { Result } from "./result.js";
import { Scans } from "./scans.js";
import { AXES } from "./shapes.js";
import { ToolBar } from "./toolbar.js";
import { Viewer } from "./viewer.js";
import { ViewBar } from "./viewbar.js";

const find = (id) => document.getElementById(id);

class Desk {
  canvas = find("picture");
  viewer = new Viewer();
  hole = new Hole(this);
  scans = new Scans(this);
  filling = new Filling();
  fillSettings = new FillSettings();
  #plane = 0;
  #isFilling = false;

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
    this.fillSettings.offer(state);
    find("version").textContent = `ipmedgan ${state.version}`;
    await guarded(() => this.#goOn(state));
    document.body.dataset.ready = "yes";
  }

  /** Shows what the server has, after a reload or in another tab: the scan, its last fill that is done, and one that runs. */
  async #goOn({ scan, fill, finished }) {
    if (!scan) return;
    await this.scans.show(scan);
    if (finished?.scan === scan.number) await guarded(() => this.#goOnWith(finished, false));
    if (fill.scan === scan.number && isRunning(fill)) guarded(() => this.#goOnWith(fill)); // which may take minutes
  }

  async #goOnWith(fill, isNews = true) {
    const { mask } = await api.getPainted(fill);
    await this.hole.replace(mask);
    this.fillSettings.choose(fill.source);
    await this.#whileFilling(() => this.filling.resume(fill), isNews);
  }

  // ---- what is open

  get isOpen() {
    return this.scan !== null && !this.scans.isOpening;
  }
  get scan() {
    return this.scans.scan;
  }
  get drawing() {
    return this.hole.drawing;
  }
  get painter() {
    return this.hole.painter;
  }
  get isFilling() {
    return this.#isFilling;
  }

  // ---- the fill

  async fill() {
    if (this.#isFilling || !this.isOpen) return;
    if (!this.drawing.count) throw new Error("Paint the hole first: there is nothing to fill.");
    const asked = { ...this.fillSettings.asked, scan: String(this.scan.number) };
    await this.#whileFilling(async () => this.filling.run(await gzipped(this.hole.bytes), asked));
  }

  /** Waits for the end of a fill of the hole as it is now, and shows it. */
  async #whileFilling(filled, isNews = true) {
    const { version, count } = this.drawing;
    this.#isFilling = true;
    try {
      const fill = await filled();
      if (fill) await this.result.show(fill, { version, count }, isNews);
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
    if (this.isOpen) this.drawing.undo();
  }
  redo() {
    if (this.isOpen) this.drawing.redo();
  }
  clear() {
    if (this.isOpen) this.drawing.clear();
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
    onClick("save-drawing", () => this.hole.save());
    onClick("fill", () => this.fill());
    onClick("cancel", () => this.filling.cancel());
    onClick("show-help", () => find("help").showModal());
    find("error-close").addEventListener("click", clearError);
    for (const id of ["file", "folder"]) onFiles(id, (files) => this.scans.open(files));
    onFiles("mask", ([{ file }]) => this.#openMask(file));
    onDrop((files) => this.scans.open(files));
    for (const name of ["focus", "blur"]) this.canvas.addEventListener(name, () => this.overlay.draw());
    window.addEventListener("beforeunload", (event) => this.hasUnsaved && event.preventDefault());
  }

  get hasUnsaved() {
    return this.hole.hasUnsaved || this.result.hasUnsaved;
  }

  async #openMask(file) {
    if (!this.isOpen) throw new Error(this.scan ? "Another scan is being opened." : "Open the scan first.");
    await this.hole.open(file);
  }
}

const desk = new Desk();
window.desk = desk; // for tests and the console
desk.start().catch((error) => {
  say("");
  showError(error);
});
