// The painted hole: one byte a voxel, 0 or 1, in the viewer's order: x to the right, y to the front, z to the
// top. With undo.
// Knows nothing of the page and of the viewer.

const DEEPEST = 100; // strokes that can be undone

export class Drawing {
  #undo = [];
  #redo = [];
  #stroke = null;
  #latest = 0; // the newest version

  /** dims: [nx, ny, nz]; changed: called with the box [x0, y0, z0, x1, y1, z1] of voxels that changed, ends included. */
  constructor(dims, changed = () => {}) {
    this.dims = dims;
    this.bits = new Uint8Array(dims[0] * dims[1] * dims[2]);
    this.count = 0;
    this.version = 0; // names the content: undo and redo bring it back with the content
    this.changed = changed;
  }

  get canUndo() {
    return this.#undo.length > 0;
  }
  get canRedo() {
    return this.#redo.length > 0;
  }

  /** Begins a stroke, and ends the one before; answers it. */
  begin() {
    this.end();
    this.#stroke = { flips: [], box: null, before: this.version };
    return this.#stroke;
  }

  /** Whether a stroke is the one that is being drawn: undo, redo, clear and replace drop it. */
  isDrawing(stroke) {
    return stroke !== null && stroke === this.#stroke;
  }

  /** Sets a voxel; outside the grid nothing happens. */
  set(x, y, z, value) {
    const [nx, ny, nz] = this.dims;
    if (x < 0 || y < 0 || z < 0 || x >= nx || y >= ny || z >= nz) return;
    const index = x + nx * (y + ny * z);
    if (this.bits[index] === value) return;
    this.bits[index] = value;
    this.count += value ? 1 : -1;
    this.#stroke.flips.push(index);
    this.#stroke.box = grown(this.#stroke.box, x, y, z);
  }

  /** Tells the viewer what the stroke has changed so far. */
  show() {
    if (!this.#stroke?.box) return;
    this.version = this.#latest += 1;
    this.changed(this.#stroke.box);
  }

  /** Ends the stroke; it becomes one step of undo. Answers whether it changed anything. */
  end() {
    const stroke = this.#stroke;
    this.#stroke = null;
    if (!stroke?.flips.length) return false;
    this.version = this.#latest += 1;
    const { box, before } = stroke;
    this.#undo.push({ flips: Uint32Array.from(stroke.flips), box, before, after: this.version });
    if (this.#undo.length > DEEPEST) this.#undo.shift();
    this.#redo = [];
    this.changed(stroke.box);
    return true;
  }

  /** Drops the stroke that has begun, as if it had never been. */
  cancel() {
    const stroke = this.#stroke;
    this.#stroke = null;
    if (stroke?.flips.length) this.#flip(stroke, stroke.before);
  }

  undo() {
    this.#move(this.#undo, this.#redo, "before");
  }
  redo() {
    this.#move(this.#redo, this.#undo, "after");
  }

  /** Replaces the whole drawing, as one step of undo. */
  replace(bits) {
    const [nx, ny] = this.dims;
    this.cancel();
    this.begin();
    for (let index = 0; index < bits.length; index += 1) {
      const value = bits[index] ? 1 : 0;
      if (value !== this.bits[index]) this.set(index % nx, Math.floor(index / nx) % ny, Math.floor(index / (nx * ny)), value);
    }
    this.end();
  }

  clear() {
    this.replace(new Uint8Array(this.bits.length));
  }

  #move(from, to, version) {
    this.cancel();
    const stroke = from.pop();
    if (!stroke) return;
    to.push(stroke); // before the change is told: the buttons ask then
    this.#flip(stroke, stroke[version]);
  }

  #flip({ flips, box }, version) {
    for (const index of flips) {
      this.bits[index] ^= 1;
      this.count += this.bits[index] ? 1 : -1;
    }
    this.version = version;
    this.changed(box);
  }
}

function grown(box, x, y, z) {
  if (!box) return [x, y, z, x, y, z];
  if (x < box[0]) box[0] = x;
  if (y < box[1]) box[1] = y;
  if (z < box[2]) box[2] = z;
  if (x > box[3]) box[3] = x;
  if (y > box[4]) box[4] = y;
  if (z > box[5]) box[5] = z;
  return box;
}
