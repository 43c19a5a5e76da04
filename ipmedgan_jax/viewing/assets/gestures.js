// Mouse, touch and pen on the picture: paint, move the crosshair, pan, zoom, window, and turn the 3-D view.
import { settings } from "./painter.js";

export class Gestures {
  #pointers = new Map(); // id -> {x, y}
  #mode = null; // what the pointers that are down do
  #plane = 0;

  /** desk: {viewer, painter, plane, open, pointerMoved(spot), windowChanged()}; `plane` is the plane that keys act on. */
  constructor(canvas, desk) {
    this.canvas = canvas;
    this.desk = desk;
    const listen = (name, action) =>
      canvas.addEventListener(name, (event) => desk.isOpen && action.call(this, event), { passive: false });
    listen("pointerdown", this.#down);
    listen("pointermove", this.#move);
    canvas.addEventListener("pointerup", (event) => this.#up(event)); // also while another scan is opened
    canvas.addEventListener("pointercancel", (event) => this.#abort(event));
    listen("pointerleave", () => desk.pointerMoved(null));
    listen("wheel", this.#wheel);
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  #down(event) {
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.#pointers.size > 1) return this.#startPinch();
    const spot = this.desk.viewer.spotAt(event.clientX, event.clientY);
    if (!spot) return undefined;
    this.#plane = spot.plane ?? this.#plane;
    this.#mode = this.#modeOf(event, spot);
    if (!spot.solid) this.desk.plane = spot.plane;
    if (this.#mode === "move") this.desk.viewer.crosshair = spot.voxel;
    if (this.#mode === "paint") this.#startPainting(spot);
    return undefined;
  }

  #modeOf(event, spot) {
    if (spot.solid) return "turn";
    if (event.button === 2) return "window";
    if (event.button === 1) return "pan";
    if (settings.tool === "move") return "move";
    return this.desk.viewer.isInside(spot.voxel) ? "paint" : null;
  }

  #startPainting(spot) {
    this.desk.painter.cancel(); // one begun by keys
    this.desk.viewer.crosshair = spot.voxel;
    this.desk.painter.begin(spot);
    this.desk.viewer.redraw();
  }

  #startPinch() {
    if (this.#mode === "paint") this.desk.painter.cancel();
    this.#mode = "pinch";
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return this.desk.pointerMoved(this.desk.viewer.spotAt(event.clientX, event.clientY));
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    if (this.#mode === "pinch") return this.#pinch(event, before, dx, dy);
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.#mode === "paint") this.#paint(event);
    if (this.#mode === "move") this.#follow(event);
    if (this.#mode === "pan") this.desk.viewer.pan(this.#plane, dx, dy);
    if (this.#mode === "turn") this.desk.viewer.turn(dx, dy);
    if (this.#mode === "window") this.#window(dx, dy);
    return undefined;
  }

  #paint(event) {
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const { clientX, clientY } of passed.length ? passed : [event]) {
      const spot = this.desk.viewer.spotAt(clientX, clientY);
      if (spot && !spot.solid) this.desk.painter.move(spot);
    }
    this.desk.pointerMoved(this.desk.viewer.spotAt(event.clientX, event.clientY));
    this.desk.viewer.redraw();
  }

  #follow(event) {
    const spot = this.desk.viewer.spotAt(event.clientX, event.clientY);
    if (spot?.plane === this.#plane) this.desk.viewer.crosshair = spot.voxel;
  }

  /** To the right: more contrast; up: darker. As most viewers have it. */
  #window(dx, dy) {
    const { viewer } = this.desk;
    const [low, high] = viewer.window;
    const [least, most] = viewer.robustRange;
    const unit = (most - least) / 400;
    const width = Math.max(unit, high - low - dx * unit);
    const level = (low + high) / 2 + -dy * unit;
    viewer.setWindow(level - width / 2, level + width / 2);
    this.desk.windowChanged();
  }

  #pinch(event, before, dx, dy) {
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const [old, now] = [before, { x: event.clientX, y: event.clientY }].map(({ x, y }) =>
        Math.hypot(x - other.x, y - other.y),
      );
      if (old > 10) this.desk.viewer.zoom(now / old);
      this.desk.viewer.pan(this.#plane, dx / 2, dy / 2);
    }
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    if (this.#pointers.size) return;
    if (this.#mode === "paint") this.desk.painter.end();
    this.#mode = null;
    this.desk.viewer.redraw();
  }

  #abort(event) {
    this.#pointers.delete(event.pointerId);
    if (this.#mode === "paint") this.desk.painter.cancel();
    if (!this.#pointers.size) this.#mode = null;
  }

  #wheel(event) {
    event.preventDefault();
    const spot = this.desk.viewer.spotAt(event.clientX, event.clientY);
    if (!spot || !event.deltaY) return;
    if (event.ctrlKey || spot.solid) this.desk.viewer.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
    else this.desk.scroll(spot.plane, event.deltaY < 0 ? 1 : -1);
  }
}
