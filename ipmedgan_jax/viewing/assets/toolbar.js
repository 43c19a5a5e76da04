// The tools and their settings.
import { settings, TOOLS } from "./painter.js";

const find = (id) => document.getElementById(id);
const FIELDS = { size: "size", depth: "depth", tolerance: "tolerance", reach: "reach" };
const UNITS = { size: " mm", depth: "", tolerance: " %", reach: " mm" };
const NEEDS = {
  pen: ["size", "ball"],
  eraser: ["size", "ball"],
  outline: ["depth"],
  box: ["depth"],
  grow: ["tolerance", "reach"],
  move: [],
};
const HINTS = {
  move: "Drag: move the crosshair. Right button: contrast. Wheel: slices.",
  pen: "Drag: paint.",
  eraser: "Drag: erase.",
  outline: "Draw round a region: its inside is painted.",
  box: "Drag from corner to corner.",
  grow: "Tap a region: voxels like it are painted. Then change the tolerance.",
};

export class ToolBar {
  constructor(desk) {
    this.desk = desk;
    for (const tool of TOOLS) find(`tool-${tool}`).addEventListener("click", () => this.setTool(tool));
    for (const name of Object.keys(FIELDS))
      find(name).addEventListener("input", () => this.#set(name, Number(find(name).value)));
    find("ball").addEventListener("change", () => {
      settings.ball = find("ball").checked;
    });
    for (const name of ["undo", "redo"]) find(name).addEventListener("click", () => desk[name]());
    find("clear").addEventListener("click", () => desk.clear());
    for (const name of Object.keys(FIELDS)) this.#set(name, settings[name]);
    this.setTool(settings.tool);
  }

  setTool(tool) {
    this.desk.painter?.cancel();
    settings.tool = tool;
    for (const name of TOOLS) find(`tool-${name}`).setAttribute("aria-pressed", String(name === tool));
    for (const name of [...Object.keys(FIELDS), "ball"]) find(`${name}-field`).hidden = !NEEDS[tool].includes(name);
    Object.assign(find("hint"), { textContent: HINTS[tool], title: HINTS[tool] }); // a narrow window cuts it
    this.desk.canvas.dataset.tool = tool;
    this.desk.overlay.draw();
  }

  setSize(size) {
    this.#set("size", Math.round(size * 2) / 2);
  }

  #set(name, value) {
    const field = find(FIELDS[name]);
    field.value = Math.min(Number(field.max), Math.max(Number(field.min), value));
    settings[name] = Number(field.value);
    find(`${name}-value`).textContent = `${field.value}${UNITS[name]}`;
    field.setAttribute("aria-valuetext", `${field.value}${UNITS[name]}`);
    if (name === "tolerance" || name === "reach") this.desk.painter?.growAgain();
    this.desk.overlay.draw();
  }

  showUndo() {
    const { drawing } = this.desk;
    find("undo").disabled = !drawing.canUndo;
    find("redo").disabled = !drawing.canRedo;
    find("clear").disabled = drawing.count === 0;
  }
}
