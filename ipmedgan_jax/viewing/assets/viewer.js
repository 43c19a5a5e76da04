// NiiVue, and the little that the page needs of it. Voxels here are in the viewer's order: x to the right, y to the front,
// z to the top, as NiiVue keeps drawings. NiiVue's own mouse, touch and key handling is off: gestures.js and keys.js do that.

import { Layers, onGrid } from "./layers.js";
import { HOLE_COLOUR, layout, OPAQUE_GRAY, OPTIONS, rimLetters, TYPES } from "./look.js";
import { AXES } from "./shapes.js";
import { SLICE_SHADER } from "./slice_shader.js";

const { Niivue, NVImage } = window.niivue;

export class Viewer {
  #frame = 0;
  #scan = null;
  #drawing = null;
  #view = { name: "planes", main: 0 };

  async attach(canvas) {
    this.canvas = canvas;
    this.nv = new Niivue(OPTIONS);
    this.nv.onLocationChange = () => this.moved();
    await this.nv.attachToCanvas(canvas, false);
    this.nv.addColormap("opaque_gray", OPAQUE_GRAY);
    this.nv.setDrawColormap(HOLE_COLOUR);
    this.nv.setCustomSliceShader(SLICE_SHADER);
    rimLetters(this.nv);
    this.layers = new Layers(this);
    this.setHoleLook("inside");
    this.setView("planes", 0);
    new ResizeObserver(() => this.setView(this.#view.name, this.#view.main)).observe(canvas);
  }

  /** Called when the crosshair has moved. */
  moved() {}

  /** Called after each redraw. */
  drawn() {}

  get dims() {
    return this.#scan.dimsRAS.slice(1, 4);
  }
  get spacing() {
    return this.#scan.pixDimsRAS.slice(1, 4).map(Math.abs);
  }
  /** Millilitres of a voxel; with oblique axes less than the product of its edges. */
  get voxelMl() {
    const [[a, b, c], [d, e, f], [g, h, i]] = this.affine;
    return Math.abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)) / 1000;
  }
  get fileOrder() {
    return { start: this.#scan.img2RASstart, step: this.#scan.img2RASstep };
  }
  get range() {
    return [this.#scan.global_min, this.#scan.global_max];
  }
  get robustRange() {
    return [this.#scan.robust_min, this.#scan.robust_max];
  }
  get window() {
    return [this.#scan.cal_min, this.#scan.cal_max];
  }
  get affine() {
    return this.#scan.getAffine();
  }
  get isOpen() {
    return this.#scan !== null;
  }

  /** Shows a scan alone; `affine` maps voxels of its file to mm. Error, and what was shown stays, if it cannot be shown. */
  async open(bytes, affine) {
    const trustHeader = false; // its cal_min and cal_max may be one grey level apart
    const scan = onGrid(await NVImage.new(bytes, "scan.nii", "gray", 1, null, NaN, NaN, trustHeader), affine);
    this.#refuseTooLarge(scan.dimsRAS.slice(1, 4));
    const before = [...this.nv.volumes];
    try {
      this.#put([scan]);
    } catch (error) {
      this.#put(before);
      if (this.#drawing) this.#showDrawing(this.#drawing);
      throw error;
    }
    this.#scan = scan;
    this.layers.forget();
    this.resetView();
  }

  #put(volumes) {
    for (const volume of [...this.nv.volumes].reverse()) this.nv.removeVolume(volume);
    for (const volume of volumes) this.nv.addVolume(volume);
    if (!volumes.length) return;
    this.nv.createEmptyDrawing();
    this.nv.clickToSegmentGrowingBitmap = null; // not used; as large as the drawing
  }

  #refuseTooLarge(dims) {
    const most = this.nv.gl.getParameter(this.nv.gl.MAX_3D_TEXTURE_SIZE);
    if (Math.max(...dims) > most)
      throw new Error(`it has ${dims.join(" x ")} voxels, and this browser shows at most ${most} along an axis`);
  }

  /** Shows `bits` as the drawing from now on. */
  useDrawing(drawing) {
    drawing.changed = (box) => this.#upload(drawing, box);
    this.#showDrawing(drawing);
  }

  #showDrawing(drawing) {
    this.#drawing = drawing;
    this.nv.drawBitmap = drawing.bits;
    this.nv.refreshDrawing(false);
    this.redraw();
  }

  /** Draws the hole with its "inside", as an "outline", or not at all: "none". */
  setHoleLook(look) {
    this.nv.drawOpacity = look === "inside" ? 0.35 : 0;
    this.nv.drawRimOpacity = look === "none" ? 0 : 1;
    this.redraw();
  }

  /** Sends the changed part of the drawing to the graphics card. */
  #upload({ bits, dims }, [x0, y0, z0, x1, y1, z1]) {
    const { gl, drawTexture } = this.nv;
    gl.activeTexture(gl.TEXTURE7);
    gl.bindTexture(gl.TEXTURE_3D, drawTexture);
    const settings = {
      UNPACK_ALIGNMENT: 1,
      UNPACK_ROW_LENGTH: dims[0],
      UNPACK_IMAGE_HEIGHT: dims[1],
      UNPACK_SKIP_PIXELS: x0,
      UNPACK_SKIP_ROWS: y0,
      UNPACK_SKIP_IMAGES: z0,
    };
    for (const [name, value] of Object.entries(settings)) gl.pixelStorei(gl[name], value);
    gl.texSubImage3D(gl.TEXTURE_3D, 0, x0, y0, z0, x1 - x0 + 1, y1 - y0 + 1, z1 - z0 + 1, gl.RED, gl.UNSIGNED_BYTE, bits);
    for (const name of Object.keys(settings)) if (name !== "UNPACK_ALIGNMENT") gl.pixelStorei(gl[name], 0);
    this.redraw();
  }

  /** The scan's value at a voxel, in its unit. */
  valueAt(x, y, z) {
    const { img, hdr, img2RASstart: start, img2RASstep: step } = this.#scan;
    const place = start[0] + start[1] + start[2] + x * step[0] + y * step[1] + z * step[2];
    return img[place] * (hdr.scl_slope || 1) + hdr.scl_inter;
  }

  // ---- what is shown

  /** One plane, the 3-D view, or all planes: the main one large, the others beside or below it. */
  setView(name, main) {
    this.#view = { name, main };
    this.nv.customLayout = null;
    if (name === "planes") this.nv.setCustomLayout(layout(main, this.canvas.clientWidth > this.canvas.clientHeight));
    this.nv.setSliceType(TYPES[name]);
    this.redraw();
  }

  setWindow(low, high) {
    for (const volume of this.nv.volumes.slice(0, 2)) [volume.cal_min, volume.cal_max] = [low, Math.max(high, low + 1e-6)];
    this.nv.updateGLVolume();
    this.redraw();
  }

  setRadiological(isOn) {
    this.nv.setRadiologicalConvention(isOn);
    this.redraw();
  }

  resetView() {
    this.nv.setPan2Dxyzmm([0, 0, 0, 1]);
    this.redraw();
  }

  /** Zooms the slices about the crosshair. */
  zoom(factor) {
    const [x, y, z, old] = this.nv.scene.pan2Dxyzmm;
    const zoom = Math.min(20, Math.max(0.5, old * factor));
    const centre = this.nv.frac2mm(this.nv.scene.crosshairPos);
    this.nv.setPan2Dxyzmm([x, y, z].map((pan, axis) => pan + (old - zoom) * centre[axis]).concat(zoom));
    this.redraw();
  }

  /** Moves the slices by canvas pixels, within the plane of a tile. */
  pan(plane, dx, dy) {
    const tile = this.#tile(plane);
    if (!tile) return;
    const pan = [...this.nv.scene.pan2Dxyzmm];
    const [u, v] = AXES[plane];
    pan[u] += ((dx * this.#ratio) / tile.leftTopWidthHeight[2]) * tile.fovMM[0] * pan[3];
    pan[v] -= ((dy * this.#ratio) / tile.leftTopWidthHeight[3]) * tile.fovMM[1] * pan[3];
    this.nv.setPan2Dxyzmm(pan);
    this.redraw();
  }

  turn(dx, dy) {
    this.nv.setRenderAzimuthElevation(this.nv.scene.renderAzimuth - dx, this.nv.scene.renderElevation + dy);
    this.redraw();
  }

  // ---- where things are

  get crosshair() {
    return Array.from(this.nv.frac2vox(this.nv.scene.crosshairPos));
  }

  set crosshair(voxel) {
    this.nv.scene.crosshairPos = this.nv.vox2frac(
      voxel.map((place, axis) => Math.min(Math.max(place, 0), this.dims[axis] - 1)),
    );
    this.nv.createOnLocationChange();
    this.redraw();
  }

  /** The position in mm of a voxel, as the scan's affine has it. */
  millimetres(voxel) {
    return Array.from(this.nv.frac2mm(this.nv.vox2frac(voxel), 0, true)).slice(0, 3);
  }

  /** What is under a point of the window: {plane, at, voxel}, {solid: true} on the 3-D view, or null. `at` has fractions. */
  spotAt(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [(clientX - box.left) * this.#ratio, (clientY - box.top) * this.#ratio];
    const index = this.nv.tileIndex(x, y);
    if (index < 0) return null;
    const plane = this.nv.screenSlices[index].axCorSag;
    if (plane > 2) return { solid: true };
    const frac = this.nv.screenXY2TextureFrac(x, y, index, false);
    const at = this.dims.map((size, axis) => frac[axis] * size - 0.5);
    const through = AXES[plane][2];
    at[through] = this.crosshair[through]; // exactly the slice that is shown
    return { plane, at, voxel: at.map(Math.round) };
  }

  isInside(voxel) {
    return voxel.every((place, axis) => place >= 0 && place < this.dims[axis]);
  }

  /** Where a voxel is in the tile of a plane, in CSS pixels of the canvas; null if that plane is not shown. */
  place(voxel, plane) {
    const tile = this.#tile(plane);
    if (!tile) return null;
    const frac = voxel.map((where, axis) => (where + 0.5) / this.dims[axis]);
    const mm = this.nv.frac2mm(frac);
    const [u, v] = AXES[plane];
    const [left, top, width, height] = tile.leftTopWidthHeight;
    const x = left + ((mm[u] - tile.leftTopMM[0]) / tile.fovMM[0]) * width;
    const y = top + (1 - (mm[v] - tile.leftTopMM[1]) / tile.fovMM[1]) * height;
    return [x / this.#ratio, y / this.#ratio];
  }

  /** The tile of a plane in CSS pixels: [left, top, width, height], or null. */
  tileOf(plane) {
    return this.#tile(plane)?.leftTopWidthHeight.map((pixel) => pixel / this.#ratio) ?? null;
  }

  /** CSS pixels a millimetre in the tile of a plane. */
  scaleOf(plane) {
    const tile = this.#tile(plane);
    return tile ? tile.leftTopWidthHeight[2] / Math.abs(tile.fovMM[0]) / this.#ratio : 1;
  }

  #tile(plane) {
    return this.nv.screenSlices.find((tile) => tile.axCorSag === plane);
  }
  get #ratio() {
    return this.canvas.width / this.canvas.clientWidth;
  }

  /** Resolves when what was changed so far is drawn. */
  async settled() {
    this.redraw();
    while (this.#frame) await new Promise(requestAnimationFrame);
  }

  /** Draws once before the next frame, however often it is asked for. */
  redraw() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (!this.#scan) return;
      this.nv.drawScene();
      this.drawn();
    });
  }
}
