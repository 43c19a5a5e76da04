// The scan that is open: opened from files, shown, and described. A scan that cannot be shown leaves the one before.
import * as api from "./api.js";
import { plainBytes } from "./gzip.js";
import { confirmed, listLines, say } from "./messages.js";
import { upload } from "./opening.js";

const find = (id) => document.getElementById(id);

export class Scans {
  scan = null;
  #isOpening = false;

  /** desk: {viewer, viewBar, hole, result, overlay, isFilling}. */
  constructor(desk) {
    this.desk = desk;
  }

  /** Whether files are being opened: nothing is painted then, because it would be lost. */
  get isOpening() {
    return this.#isOpening;
  }

  /** Opens files: [{name, file}], or a promise of them. */
  async open(files) {
    if (this.desk.isFilling) throw new Error("A fill is running. Cancel it, or wait until it is done.");
    if (!(await this.#mayLose())) return;
    if (this.#isOpening) throw new Error("Another scan is being opened.");
    this.#setOpening(true);
    try {
      const scan = await upload(await files);
      if (scan) await this.#showOrGoBack(scan);
      else say("");
    } finally {
      this.#setOpening(false);
    }
  }

  #setOpening(isOpening) {
    this.desk.hole.painter?.cancel(); // a shape that was begun by keys
    this.#isOpening = isOpening;
    document.body.classList.toggle("opening", isOpening);
    this.desk.overlay.draw();
  }

  async #mayLose() {
    const { hole, result } = this.desk;
    const lost = [hole.hasUnsaved && "hole that you painted", result.hasUnsaved && "filled scan"].filter(Boolean);
    if (!lost.length) return true;
    const [are, them] = lost.length > 1 ? ["are", "them"] : ["is", "it"];
    return confirmed(`The ${lost.join(" and the ")} ${are} not saved. Open another scan and lose ${them}?`, "Lose and open");
  }

  async #showOrGoBack(scan) {
    try {
      await this.show(scan);
    } catch (error) {
      await api.goBack(scan);
      throw this.scan ? new Error(`${error.message} ${this.scan.name} stays open.`) : error;
    }
    await api.keepScan(scan);
  }

  /** Shows a scan that the server has open. Error, and what was shown stays, if that is not possible. */
  async show(scan) {
    const { viewer, viewBar, hole, result } = this.desk;
    say("Loading the scan…");
    const bytes = await this.#shown(scan);
    if (this.scan) result.hide();
    this.scan = scan;
    hole.begin(bytes);
    viewBar.showScan();
    viewer.crosshair = viewer.dims.map((size) => Math.floor(size / 2));
    describe(scan);
    await viewer.settled();
    document.body.classList.add("open");
    document.body.dataset.scan = scan.number;
    say(`${scan.name} is open.`);
  }

  /** Gives a scan to the viewer; returns the bytes of its file. */
  async #shown(scan) {
    try {
      const bytes = await plainBytes(await api.getScan(scan));
      await this.desk.viewer.open(bytes, scan.affine);
      return bytes;
    } catch (error) {
      const reason = String(error.message ?? error).replace(/[.\s]*$/, "");
      throw new Error(`${scan.name} cannot be shown: ${reason}.`);
    }
  }
}

function describe({ name, shape, spacing_mm, orientation, modality, warnings }) {
  find("scan-name").textContent = name;
  find("scan-facts").textContent = [
    `${shape.join(" x ")} voxels`,
    `${spacing_mm.map((mm) => Number(mm.toFixed(2))).join(" x ")} mm`,
    orientation,
    modality,
  ]
    .filter(Boolean)
    .join(", ");
  listLines("scan-warnings", warnings);
  document.title = `${name} · ipmedgan view`;
}
