// Which planes are shown, which slice, the contrast, and where the crosshair is.
import { AXES } from "./shapes.js";

const find = (id) => document.getElementById(id);
const PLANES = ["axial", "coronal", "sagittal"];
const CT_WINDOWS = { brain: [0, 80], soft: [-160, 240], bone: [-450, 1050] };

export class ViewBar {
  constructor(desk) {
    this.desk = desk;
    find("view").addEventListener("change", () => this.setView(find("view").value));
    find("slice-down").addEventListener("click", () => desk.scroll(desk.plane, -1));
    find("slice-up").addEventListener("click", () => desk.scroll(desk.plane, 1));
    for (const [id, action] of [
      ["zoom-in", "zoomIn"],
      ["zoom-out", "zoomOut"],
      ["reset-view", "resetView"],
    ])
      find(id).addEventListener("click", () => desk.act(action));
    for (const id of ["window-width", "window-level"]) find(id).addEventListener("input", () => this.#setWindow());
    find("window-preset").addEventListener("change", () => this.#preset(find("window-preset").value));
    find("radiological").addEventListener("change", () => desk.viewer.setRadiological(find("radiological").checked));
  }

  setView(view) {
    find("view").value = view;
    if (PLANES.includes(view)) this.desk.plane = PLANES.indexOf(view);
    if (view === "solid") this.desk.painter?.cancel(); // nothing is painted there
    this.desk.viewer.setView(view, this.desk.plane);
  }

  /** The keys 1 to 3 choose the plane that is large and that keys act on, or the only one that is shown. */
  keyView(name) {
    const isOne = PLANES.includes(name);
    if (isOne) this.desk.plane = PLANES.indexOf(name);
    this.setView(isOne && find("view").value === "planes" ? "planes" : name);
  }

  showPlane(plane) {
    find("plane-name").textContent = PLANES[plane];
    this.showPlace();
  }

  showPlace() {
    const { viewer, plane } = this.desk;
    if (!viewer.isOpen) return;
    const voxel = viewer.crosshair;
    const through = AXES[plane][2];
    find("slice-number").textContent = `${voxel[through] + 1} / ${viewer.dims[through]}`;
    const value = viewer.isInside(voxel) ? viewer.valueAt(...voxel) : NaN;
    find("place").textContent = `${viewer
      .millimetres(voxel)
      .map((mm) => (Math.round(mm * 10) / 10 + 0).toFixed(1)) // no -0.0
      .join(", ")} mm · value ${Number(value.toPrecision(4))}`;
  }

  showScan() {
    const { viewer, scan } = this.desk;
    const [low, high] = viewer.range;
    const width = high - low || 1;
    Object.assign(find("window-width"), { min: width / 500, max: width, step: width / 500 });
    Object.assign(find("window-level"), { min: low, max: high, step: width / 500 });
    for (const option of find("window-preset").options) option.hidden = option.value in CT_WINDOWS && scan.modality !== "ct";
    find("window-preset").value = "automatic";
    this.showWindow();
    this.showPlane(this.desk.plane);
  }

  showWindow() {
    const [low, high] = this.desk.viewer.window;
    find("window-width").value = high - low;
    find("window-level").value = (low + high) / 2;
    const text = (number) => String(Number(number.toPrecision(3)));
    find("window-width").setAttribute("aria-valuetext", text(high - low));
    find("window-level").setAttribute("aria-valuetext", text((low + high) / 2));
  }

  #setWindow() {
    const width = Number(find("window-width").value);
    const level = Number(find("window-level").value);
    this.desk.viewer.setWindow(level - width / 2, level + width / 2);
    find("window-preset").value = "own";
  }

  #preset(name) {
    const { viewer } = this.desk;
    const own = { automatic: viewer.robustRange, full: viewer.range, ...CT_WINDOWS }[name];
    if (!own) return;
    viewer.setWindow(...own);
    this.showWindow();
  }
}
