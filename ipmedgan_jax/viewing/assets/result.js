// After the fill: before and after, the deviation, what is known about the fill, and saving.
import * as api from "./api.js";
import { element, guarded, listLines, say } from "./messages.js";
import { saveOfFill } from "./saving.js";

const find = (id) => document.getElementById(id);
const FLICKER = 700; // ms of each picture: under two changes a second
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

export class Result {
  #timer = 0;
  #version = -1;
  #isHeld = false;
  #fill = null; // that is shown
  #isSaved = true; // the filled scan that is shown

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
    find("deviation").addEventListener("change", () => this.desk.viewer.layers.setDeviation(find("deviation").checked));
    find("hole-look").addEventListener("change", () => this.look());
    for (const saver of document.querySelectorAll("[data-save]"))
      saver.addEventListener("click", () => guarded(() => this.#save(saver.dataset.save)));
    window.addEventListener("blur", () => this.hold(false)); // a key that is let go elsewhere
    calm.addEventListener("change", () => this.flicker(false));
  }

  get isShown() {
    return !find("result").hidden;
  }
  get hasUnsaved() {
    return this.isShown && !this.#isSaved;
  }

  async #save(name) {
    const [fill, version] = [this.#fill, this.#version];
    say("Saving…");
    await saveOfFill(name, fill);
    say("Saved.");
    if (fill !== this.#fill) return; // another one is shown by now
    if (name === "filled") this.#isSaved = true;
    if (name === "mask" && fill.voxels === fill.painted) this.desk.hole.markSaved(version); // not dilated
  }

  /** Fetches what was filled and shows it over the scan. `version` and `count` are those of the drawing.
   * What is news takes the focus. */
  async show(fill, { version, count }, isNews = true) {
    const view = (name) =>
      api.untilAnswered(
        () => api.getView(name, fill),
        () => say("The server does not answer. Trying again…"),
      );
    const [filled, deviation] = await Promise.all([view("filled"), fill.deviation ? view("deviation") : null]);
    await this.desk.viewer.layers.show(filled, deviation);
    this.#version = version;
    this.#fill = { ...fill, painted: count };
    this.#isSaved = false;
    this.#write(fill);
    this.#offer("deviation-part", fill.deviation);
    find("result").hidden = false;
    find("deviation").checked = false;
    this.#setLook("outline");
    find("calm-note").hidden = !calm.matches;
    find("flicker").disabled = calm.matches;
    this.drawingChanged(this.desk.hole.drawing.version);
    if (isNews) this.#leadTo();
  }

  #leadTo() {
    find("result-title").focus({ preventScroll: true });
    find("result").scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  }

  hide() {
    this.flicker(false);
    find("result").hidden = true;
    this.desk.viewer.layers.hide();
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
    this.desk.viewer.layers.setBefore(isBefore);
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
    if (deviation) rows.push(["Largest deviation", Number(this.desk.viewer.layers.deviationMax).toPrecision(3)]);
    find("facts").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
    listLines("fill-warnings", warnings);
  }
}

/** The plausibility figure with its worst part, and up to which the fill looks like its surroundings. Empty if there is none. */
function figureOf(plausibility) {
  if (!plausibility) return "";
  const { figure, worst_part: worst, ordinary_up_to: ordinary, unmeasured } = plausibility;
  if (figure === null) return `cannot be measured: ${unmeasured}`;
  return `${figure.toFixed(2)} (${worst}); up to ${ordinary} the fill looks like its surroundings`;
}
