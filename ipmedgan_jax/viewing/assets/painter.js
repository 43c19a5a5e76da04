// Turns places that a pointer or the crosshair passes into painted voxels. One painter serves mouse, touch, pen and keys.
import { AXES, box, disc, grow, line, polygon, rounded } from "./shapes.js";

export const TOOLS = ["move", "pen", "outline", "box", "grow", "eraser"];

/** What the user may set. Sizes and reach in mm, depths in slices, tolerance in percent of the window that is shown. */
export const settings = { tool: "pen", size: 6, ball: false, depth: 1, tolerance: 10, reach: 20 };

export class Painter {
  #plane = 0;
  #slice = 0;
  #stroke = null; // of the drawing, which may drop it
  #points = []; // of the outline or box that is being drawn, in voxels with fractions
  #last = null; // last voxel of a pen
  #grown = null; // the last growing, for another tolerance: {seed, changed, version}

  constructor(drawing, viewer) {
    this.drawing = drawing;
    this.viewer = viewer;
    this.grid = { dims: drawing.dims, spacing: viewer.spacing };
  }

  get isBusy() {
    return this.drawing.isDrawing(this.#stroke);
  }

  /** The outline or box that is being drawn: {plane, points, closed}. */
  get pending() {
    const points = settings.tool === "box" ? this.#corners() : this.#points;
    return { plane: this.#plane, points: this.isBusy ? points : [] };
  }

  begin({ plane, at, voxel }) {
    this.#forget();
    this.#plane = plane;
    this.#slice = voxel[AXES[plane][2]];
    this.#grown = null;
    this.#stroke = this.drawing.begin();
    if (settings.tool === "grow") this.#grow(voxel);
    else if (settings.tool === "outline" || settings.tool === "box") this.#points = [at];
    else this.#dab(voxel, voxel);
  }

  move({ plane, at, voxel }) {
    if (!this.isBusy || plane !== this.#plane) return;
    if (this.#points.length && settings.tool === "box") this.#points = [this.#points[0], at];
    else if (this.#points.length) this.#points.push(at);
    else if (this.#last) this.#dab(this.#last, voxel);
  }

  end() {
    if (!this.isBusy) return;
    const put = (x, y, z) => this.drawing.set(x, y, z, 1);
    if (this.#points.length && settings.tool === "outline") polygon(this.#plane, this.#points, settings.depth, put);
    if (this.#points.length && settings.tool === "box")
      box(this.#plane, rounded(this.#points[0]), rounded(this.#points.at(-1)), settings.depth, put);
    const changed = this.drawing.end();
    if (this.#grown) Object.assign(this.#grown, { changed, version: this.drawing.version });
    this.#forget();
  }

  cancel() {
    this.drawing.cancel();
    this.#forget();
  }

  /** What is shown has changed: a pen's stroke ends, an outline or a box of another slice is dropped. Answers whether one was. */
  follow(plane, voxel) {
    if (!this.isBusy) return false;
    const isShape = this.#points.length > 0;
    if (plane === this.#plane && (!isShape || voxel[AXES[plane][2]] === this.#slice)) return false;
    if (isShape) this.cancel();
    else this.end();
    return isShape;
  }

  /** Grows from the last seed again, after tolerance or reach were changed; not if the drawing was changed since. */
  growAgain() {
    if (!this.#grown || this.isBusy || this.#grown.version !== this.drawing.version) return;
    const { seed, changed } = this.#grown;
    if (changed) this.drawing.undo();
    this.drawing.begin();
    this.#grow(seed);
    const isChanged = this.drawing.end();
    Object.assign(this.#grown, { changed: isChanged, version: this.drawing.version });
  }

  #forget() {
    this.#stroke = null;
    this.#points = [];
    this.#last = null;
  }

  #dab(from, to) {
    const value = settings.tool === "eraser" ? 0 : 1;
    const stamp = (...middle) =>
      disc(this.grid, this.#plane, middle, settings.size, settings.ball, (x, y, z) => this.drawing.set(x, y, z, value));
    line(from, to, stamp);
    this.#last = to;
    this.drawing.show();
  }

  #grow(seed) {
    const [low, high] = this.viewer.window;
    const tolerance = (settings.tolerance / 100) * (high - low);
    grow(
      this.grid,
      (x, y, z) => this.viewer.valueAt(x, y, z),
      seed,
      tolerance,
      settings.reach,
      (x, y, z) => this.drawing.set(x, y, z, 1),
    );
    this.#grown = { seed, changed: false, version: -1 };
  }

  #corners() {
    if (!this.#points.length) return [];
    const [from, to] = [this.#points[0], this.#points.at(-1)];
    const [u, v] = AXES[this.#plane];
    return [from, with_(from, u, to[u]), to, with_(from, v, to[v])];
  }
}

function with_(point, axis, value) {
  const result = [...point];
  result[axis] = value;
  return result;
}
