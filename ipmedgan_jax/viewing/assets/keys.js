// The keyboard: everything that a pointer can do. Letters act wherever the focus is but in fields; arrows and
// Space on the picture.
import { AXES } from "./shapes.js";
import { say } from "./messages.js";
import { settings } from "./painter.js";

const TOOL_KEYS = { m: "move", p: "pen", o: "outline", b: "box", g: "grow", e: "eraser" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

export class Keys {
  #isPaintingAlong = false;

  /** desk: as for Gestures, and {canvas, act(name), setTool(name), compare(isBefore)}. */
  constructor(desk) {
    this.desk = desk;
    document.addEventListener("keydown", (event) => this.#down(event));
    document.addEventListener("keyup", (event) => this.#up(event));
    desk.canvas.addEventListener("blur", () => this.#endAlong());
  }

  #down(event) {
    if (event.target.closest?.("input:not([type=checkbox]):not([type=radio]):not([type=range]), select, textarea, dialog"))
      return;
    const handled =
      this.#shortcut(event) ||
      (this.desk.isOpen && (this.#letter(event) || (event.target === this.desk.canvas && this.#onPicture(event))));
    if (handled) event.preventDefault();
  }

  #shortcut(event) {
    const key = event.key.toLowerCase();
    if (event.key === "?") return this.#act("help");
    if (!(event.ctrlKey || event.metaKey)) return false;
    if (key === "z") return this.#act(event.shiftKey ? "redo" : "undo");
    if (key === "y") return this.#act("redo");
    if (key === "enter") return this.#act("fill");
    return false;
  }

  #letter(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const key = event.key.toLowerCase();
    const actions = {
      u: "undo",
      "[": "smaller",
      "]": "larger",
      "+": "zoomIn",
      "=": "zoomIn",
      "-": "zoomOut",
      r: "resetView",
      f: "flicker",
      d: "deviation",
      h: "hole",
      0: "planes",
      1: "axial",
      2: "coronal",
      3: "sagittal",
      4: "solid",
    };
    if (TOOL_KEYS[key]) return this.#done(() => this.desk.setTool(TOOL_KEYS[key]));
    if (key === "c") return this.#done(() => this.desk.compare(true));
    return actions[key] ? this.#act(actions[key]) : false;
  }

  #onPicture(event) {
    if (ARROWS[event.key]) return this.#done(() => this.#arrow(event));
    if (event.key === "PageUp") return this.#done(() => this.#step(AXES[this.desk.plane][2], event.ctrlKey ? 10 : 1));
    if (event.key === "PageDown") return this.#done(() => this.#step(AXES[this.desk.plane][2], event.ctrlKey ? -10 : -1));
    if (event.key === " " || event.key === "Enter") return this.#done(() => !event.repeat && this.#apply());
    if (event.key === "Escape" && this.desk.painter.isBusy) return this.#done(() => this.#cancel());
    return false;
  }

  #arrow(event) {
    const [right, up] = ARROWS[event.key];
    const [u, v] = AXES[this.desk.plane];
    const length = event.ctrlKey ? 10 : 1;
    const along = event.shiftKey && this.#isInSlice() && (settings.tool === "pen" || settings.tool === "eraser");
    if (along && !(this.#isPaintingAlong && this.desk.painter.isBusy)) this.#beginAlong();
    if (right) this.#step(u, right * length * this.#sign(u));
    else this.#step(v, up * length);
  }

  /** 1 if an axis runs to the right on the screen, -1 if the view is mirrored. */
  #sign(axis) {
    const { viewer, plane } = this.desk;
    const here = viewer.crosshair;
    const there = [...here];
    there[axis] += there[axis] ? -1 : 1;
    const [a, b] = [viewer.place(here, plane), viewer.place(there, plane)];
    return a && b ? Math.sign((b[0] - a[0]) * (there[axis] - here[axis])) || 1 : 1;
  }

  #step(axis, length) {
    const { viewer, painter } = this.desk;
    const voxel = viewer.crosshair;
    voxel[axis] += length;
    viewer.crosshair = voxel;
    if (painter.isBusy) painter.move(this.#spot());
    viewer.redraw();
  }

  #spot() {
    const voxel = this.desk.viewer.crosshair;
    return { plane: this.desk.plane, at: voxel, voxel };
  }

  /** The tool at the crosshair: a dab of the pen, a growing, or the beginning and the end of an outline or a box. */
  #apply() {
    const { painter, viewer } = this.desk;
    if (settings.tool === "move" || !this.#isInSlice()) return;
    const isShape = settings.tool === "outline" || settings.tool === "box";
    const ends = !isShape || painter.isBusy;
    if (!painter.isBusy) painter.begin(this.#spot());
    if (ends) painter.end();
    viewer.redraw();
  }

  /** Whether the plane that keys act on is shown; says so if it is not, as in the 3-D view. */
  #isInSlice() {
    const { viewer, plane } = this.desk;
    if (viewer.tileOf(plane)) return true;
    say("Nothing is painted in the 3-D view. Show slices first.");
    return false;
  }

  #beginAlong() {
    this.desk.painter.cancel();
    this.desk.painter.begin(this.#spot());
    this.#isPaintingAlong = true;
  }

  #endAlong() {
    if (!this.#isPaintingAlong) return;
    this.#isPaintingAlong = false;
    this.desk.painter.end();
  }

  #cancel() {
    this.#isPaintingAlong = false;
    this.desk.painter.cancel();
    this.desk.viewer.redraw();
  }

  #up(event) {
    if (event.key === "Shift") this.#endAlong();
    if (event.key.toLowerCase() === "c") this.desk.compare(false);
  }

  #act(name) {
    return this.#done(() => this.desk.act(name));
  }

  #done(action) {
    action();
    return true;
  }
}
