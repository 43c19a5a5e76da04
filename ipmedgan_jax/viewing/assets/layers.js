// What lies over the scan: the filled scan and the deviation.

const { NVImage } = window.niivue;

/**
 * A volume on the grid that the server reads from the file; `affine`, 4 x 4, maps its voxels to mm. From some headers NiiVue
 * takes another: the qform if its code is higher than that of the sform, the spacing of pixdim beside an sform, and lengths in
 * metres or micrometres as mm.
 */
export function onGrid(volume, affine) {
  for (const axis of [0, 1, 2]) volume.hdr.pixDims[axis + 1] = Math.hypot(...affine.slice(0, 3).map((row) => row[axis]));
  volume.setAffine(affine);
  hideInfinite(volume);
  return volume;
}

/** Shows infinite values as NaN: with one, NiiVue finds no contrast, and the picture is black. */
function hideInfinite(volume) {
  const { img } = volume;
  const isInfinite = (value) => value === Infinity || value === -Infinity;
  if (!(img instanceof Float32Array || img instanceof Float64Array) || !img.some(isInfinite)) return;
  img.forEach((value, place) => isInfinite(value) && (img[place] = NaN));
  volume.calMinMax();
}

export class Layers {
  /** viewer: the Viewer, of whose volumes the first is the scan. */
  constructor(viewer) {
    this.viewer = viewer;
    this.nv = viewer.nv;
  }

  async show(filled, deviation) {
    const [low, high] = this.viewer.window;
    const { affine } = this.viewer;
    const result = onGrid(await NVImage.new(filled, "filled.nii", "opaque_gray", 1, null, low, high), affine);
    const spread = deviation && onGrid(await NVImage.new(deviation, "deviation.nii", "warm", 0), affine);
    this.hide();
    [result.cal_min, result.cal_max] = [low, high];
    this.nv.addVolume(result);
    if (!spread) return;
    [spread.cal_min, spread.cal_max] = [spread.global_max * 0.02, spread.global_max || 1];
    this.nv.addVolume(spread);
  }

  hide() {
    for (const volume of this.nv.volumes.slice(1).reverse()) this.nv.removeVolume(volume);
    this.forget();
  }

  /** NiiVue keeps what lay over the scan, and its 3-D view would go on showing it. */
  forget() {
    const { nv } = this;
    if (nv.overlayTexture) nv.overlayTexture = nv.rgbaTex(nv.overlayTexture, nv.gl.TEXTURE2, [2, 2, 2, 2], true);
    nv.overlayTextureID = nv.overlayTexture;
    if (nv.volumes.length) nv.updateGLVolume();
    this.setBefore(false);
  }

  /** Hides or shows everything that lies over the scan, at once: nothing is sent to the graphics card. */
  setBefore(isBefore) {
    this.nv.overlayAlphaShader = isBefore ? 0 : 1;
    this.viewer.redraw();
  }

  get deviationMax() {
    return this.nv.volumes[2]?.global_max ?? 0;
  }
  setDeviation(isShown) {
    if (this.nv.volumes[2]) this.nv.setOpacity(2, isShown ? 0.75 : 0);
  }
}
