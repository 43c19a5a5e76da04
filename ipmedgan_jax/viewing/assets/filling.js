// The fill: its settings, its start, its progress by slice, and its end.
import * as api from "./api.js";
import { say } from "./messages.js";

const find = (id) => document.getElementById(id);
const WAIT = 250; // ms between two questions
const IDLE = ["idle", "done", "failed", "cancelled"];

export class Filling {
  #sources = new Map();

  /** Offers the models and the classical fills that the server has. */
  offer({ models, classical, planes, default: source }) {
    const groups = [
      ["Trained models", models.map((model) => ["model", model.name, aboutModel(model), model.card])],
      ["Classical fills", classical.map((fill) => ["system", fill.name, fill.text, ""])],
    ];
    find("source").replaceChildren(
      ...groups.filter(([, rows]) => rows.length).map(([label, rows]) => this.#group(label, rows)),
    );
    if (source && this.#sources.has(source)) find("source").value = source;
    find("planes").replaceChildren(...planes.map((plane, index) => checkbox(plane, index === 0)));
    find("source").addEventListener("change", () => this.#describe());
    this.#describe();
  }

  #group(label, rows) {
    const group = document.createElement("optgroup");
    group.label = label;
    for (const [kind, name, text, card] of rows) {
      this.#sources.set(`${kind}:${name}`, { text, card });
      group.append(new Option(name.replaceAll("_", " "), `${kind}:${name}`));
    }
    return group;
  }

  #describe() {
    const source = find("source").value;
    const { text, card } = this.#sources.get(source) ?? { text: "", card: "" };
    find("source-text").textContent = text;
    find("card").hidden = !card;
    find("card-text").textContent = card;
    find("samples").disabled = !source.startsWith("model:");
  }

  /** What the request asks for. Error if a setting is not possible. */
  get settings() {
    const planes = Array.from(document.querySelectorAll("#planes input:checked"), (input) => input.value);
    if (!planes.length) throw new Error("Choose at least one plane to fill in.");
    for (const id of ["dilation", "samples"])
      if (!find(id).checkValidity())
        throw new Error(`${find(id).labels[0].textContent.trim()}: ${find(id).validationMessage}`);
    const samples = find("samples").disabled ? "0" : find("samples").value || "0";
    return { source: find("source").value, dilate_mm: find("dilation").value || "0", planes: planes.join(","), samples };
  }

  /** Fills; resolves to the fill when it is done, to null if it was cancelled. Error if it failed. */
  async run(mask, settings) {
    this.#busy(true);
    try {
      let fill = await api.startFill(mask, settings);
      while (!IDLE.includes(fill.state)) {
        this.#progress(fill);
        await new Promise((resolve) => setTimeout(resolve, WAIT));
        fill = await api.getFill();
      }
      if (fill.state === "failed") throw new Error(fill.error ?? "The fill failed.");
      say(fill.state === "done" ? "Filled." : "Cancelled. The hole is as it was.");
      return fill.state === "done" ? fill : null;
    } catch (error) {
      say("");
      throw error;
    } finally {
      this.#busy(false);
    }
  }

  #busy(isBusy) {
    find("fill").hidden = isBusy;
    find("working").hidden = !isBusy;
    find("cancel").disabled = false;
    if (isBusy) this.#progress({ state: "loading" });
  }

  #progress({ state, done, total }) {
    const bar = find("progress");
    const isCounting = state === "filling" && total > 0;
    if (isCounting) Object.assign(bar, { max: total, value: done });
    else bar.removeAttribute("value");
    const text = isCounting ? `Slice ${done} of ${total}` : "Loading…";
    find("progress-text").textContent = text;
    say(text);
  }

  async cancel() {
    find("cancel").disabled = true;
    say("Cancelling…");
    await api.cancelFill();
  }
}

const aboutModel = ({ title, modality }) => [title, modality && `for ${modality.toUpperCase()}`].filter(Boolean).join(", ");

function checkbox(plane, isChecked) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), {
    type: "checkbox",
    value: plane,
    checked: isChecked,
    name: "plane",
  });
  label.append(input, ` ${plane}`);
  return label;
}
