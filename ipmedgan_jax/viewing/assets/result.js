// After the fill: before and after, the deviation, what is known about the fill, and saving.
import * as api from "./api.js";

const find = (id) => document.getElementById(id);
const FLICKER = 700; // ms of each picture: under two changes a second
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

export class Result {
  #timer = 0;
  #version = -1;
  #isHeld = false;

  constructor(desk) {
    this.desk = desk;
    const button = find("compare");
    const hold = (isBefore) => (event) => {
      if (event.key !== undefined && event.key !== " " && event.key !== "Enter") return;
      if (event.key !== undefined) event.preventDefault();
      this.hold(isBefore);
    };
    for (const name of ["pointerdown", "keydown"]) button.addEventListener(name, hold(true));
    for (const name of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"])
      button.addEventListener(name, hold(false));
    button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
    find("flicker").addEventListener("change", () => this.flicker(find("flicker").checked));
    find("deviation").addEventListener("change", () => this.desk.viewer.setDeviation(find("deviation").checked));
    find("hole-look").addEventListener("change", () => this.look());
    window.addEventListener("blur", () => this.hold(false)); // a key that is let go elsewhere
    calm.addEventListener("change", () => this.flicker(false));
  }

  get isShown() {
    return !find("result").hidden;
  }

  /** Fetches what was filled and shows it over the scan. */
  async show(fill, version) {
    const [filled, deviation] = await Promise.all([
      api.getBytes("filled.nii.gz"),
      fill.deviation ? api.getBytes("deviation.nii.gz") : null,
    ]);
    await this.desk.viewer.showResult(filled, deviation);
    this.#version = version;
    this.#write(fill);
    this.#offer("deviation-part", fill.deviation);
    find("result").hidden = false;
    find("deviation").checked = false;
    this.#setLook("outline");
    find("calm-note").hidden = !calm.matches;
    find("flicker").disabled = calm.matches;
    this.drawingChanged(version);
    find("result-title").focus({ preventScroll: true });
    find("result").scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  }

  hide() {
    this.flicker(false);
    find("result").hidden = true;
    this.desk.viewer.hideResult();
    this.#setLook("inside");
  }

  /** Says when the drawing is no longer the one that was filled. */
  drawingChanged(version) {
    find("stale").hidden = version === this.#version;
  }

  /** Shows the scan before the fill as long as a key or a button is held; flicker waits. */
  hold(isBefore) {
    this.#isHeld = isBefore;
    this.before(isBefore);
  }

  before(isBefore) {
    if (!this.isShown) return;
    this.desk.viewer.setBefore(isBefore);
    find("shown").textContent = isBefore ? "Before" : "After";
    find("shown").dataset.before = isBefore;
  }

  flicker(isOn) {
    clearInterval(this.#timer);
    this.#timer = 0;
    const goes = isOn && this.isShown && !calm.matches;
    find("flicker").checked = goes;
    if (!goes) return this.before(this.#isHeld && this.isShown);
    let isBefore = false;
    this.#timer = setInterval(() => this.#isHeld || this.before((isBefore = !isBefore)), FLICKER);
    return undefined;
  }

  toggle(id) {
    if (!this.isShown || find(id).disabled || find(id).closest("[hidden]")) return;
    find(id).checked = !find(id).checked;
    find(id).dispatchEvent(new Event("change"));
  }

  /** The next way of showing the hole: inside, outline, none. */
  nextLook() {
    const looks = Array.from(find("hole-look").options, (option) => option.value);
    this.#setLook(looks[(looks.indexOf(find("hole-look").value) + 1) % looks.length]);
  }

  #setLook(look) {
    find("hole-look").value = look;
    this.look();
  }

  look() {
    this.desk.viewer.setHoleLook(find("hole-look").value);
  }

  #offer(id, isThere) {
    for (const element of document.querySelectorAll(`.${id}`)) element.hidden = !isThere;
  }

  #write({ voxels, ml, slices, plausibility, warnings, deviation }) {
    const rows = [
      ["Filled", `${voxels} voxels, ${Number(ml).toPrecision(3)} ml`],
      ["Slices", String(slices)],
    ];
    const figure = figureOf(plausibility);
    if (figure) rows.push(["Plausibility", figure]);
    if (deviation) rows.push(["Largest deviation", Number(this.desk.viewer.deviationMax).toPrecision(3)]);
    find("facts").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
    find("fill-warnings").replaceChildren(...(warnings ?? []).map((line) => element("li", line)));
  }
}

/** The plausibility figure with its worst part, and up to which the fill looks like its surroundings. Empty if there is none. */
function figureOf(plausibility) {
  if (!plausibility) return "";
  const { figure, worst_part: worst, ordinary_up_to: ordinary } = plausibility;
  return `${figure.toFixed(2)} (${worst}); up to ${ordinary} the fill looks like its surroundings`;
}

export function element(tag, text) {
  const result = document.createElement(tag);
  result.textContent = text;
  return result;
}
