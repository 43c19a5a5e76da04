// The settings of a fill: with what, where, and how often.

const find = (id) => document.getElementById(id);

export class FillSettings {
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
    this.choose(source);
    find("planes").replaceChildren(...planes.map((plane, index) => checkbox(plane, index === 0)));
    find("source").addEventListener("change", () => this.#describe());
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

  /** Chooses what a fill was made with. */
  choose(source) {
    if (!this.#sources.has(source)) return;
    find("source").value = source;
    this.#describe();
  }

  /** What the request asks for. Error if a setting is not possible. */
  get asked() {
    const planes = Array.from(document.querySelectorAll("#planes input:checked"), (input) => input.value);
    if (!planes.length) throw new Error("Choose at least one plane to fill in.");
    for (const id of ["dilation", "samples"])
      if (!find(id).checkValidity())
        throw new Error(`${find(id).labels[0].textContent.trim()}: ${find(id).validationMessage}`);
    const samples = find("samples").disabled ? "0" : find("samples").value || "0";
    return { source: find("source").value, dilate_mm: find("dilation").value || "0", planes: planes.join(","), samples };
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
