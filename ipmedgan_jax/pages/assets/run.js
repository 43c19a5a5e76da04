"use strict";
// The report of a run: age of the page, charts, and the pictures of examples through time.

const DATA = JSON.parse(document.getElementById("data").textContent);
const COLUMNS = 3, GAP = 2;

function ago(seconds) {
  const units = [[86400, "day"], [3600, "hour"], [60, "minute"]];
  for (const [size, name] of units) {
    const count = Math.floor(seconds / size);
    if (count >= 1) return `${count} ${name}${count === 1 ? "" : "s"}`;
  }
  return "less than a minute";
}

function showAge() {
  const age = Math.max(0, Date.now() / 1000 - DATA.state.written);
  const written = new Date(DATA.state.written * 1000).toLocaleString();
  document.getElementById("age").textContent = `this page was written ${ago(age)} ago (${written})`;
  const isSilent = DATA.state.name === "running" && age > 3 * DATA.state.due + 60;
  const warning = document.getElementById("silent");
  warning.hidden = !isSilent;
  if (!isSilent) return;
  warning.textContent = `The next page was due after ${ago(DATA.state.due)}. The run may have been killed, or this copy is old: load the page again.`;
  const state = document.getElementById("state");
  state.textContent = "no news";
  state.className = "state silent";
}

function showCharts() {
  const parent = document.getElementById("charts");
  if (!parent) return;
  const smooth = document.getElementById("smooth");
  const options = { smooth: () => smooth.checked, marks: DATA.marks, last: Math.max(...DATA.charts.flatMap((chart) => chart.series.flatMap((series) => series.steps))) };
  const charts = DATA.charts.map((chart) => new LineChart(parent, chart, options));
  smooth.addEventListener("change", () => charts.forEach((chart) => chart.draw()));
}

class Examples {
  constructor() {
    this.when = document.getElementById("when");
    this.alone = document.getElementById("fills-only");
    this.tiles = document.getElementById("tiles");
    this.pictures = new Map();
    this.when.addEventListener("input", () => this.show());
    this.alone.addEventListener("change", () => this.show());
    document.getElementById("earlier").addEventListener("click", () => this.move(-1));
    document.getElementById("later").addEventListener("click", () => this.move(1));
    this.show();
  }

  move(by) {
    this.when.value = String(Number(this.when.value) + by);
    this.show();
  }

  picture(index) {
    if (!this.pictures.has(index) && DATA.examples[index]) {
      const picture = new Image();
      picture.src = DATA.examples[index].file;
      this.pictures.set(index, picture);
    }
    return this.pictures.get(index);
  }

  async show() {
    const index = Number(this.when.value), example = DATA.examples[index];
    document.getElementById("when-step").textContent = example.step.toLocaleString("en");
    this.when.setAttribute("aria-valuetext", `step ${example.step}`);
    const picture = this.picture(index);
    try {
      await picture.decode();
    } catch {
      this.tiles.replaceChildren();
      element(this.tiles, "p", {}, `${example.file} is not there: keep this page beside its folder.`);
      return;
    }
    if (index !== Number(this.when.value)) return;
    this.draw(picture, example.step);
    this.picture(index - 1);
    this.picture(index + 1);
  }

  draw(picture, step) {
    const side = (picture.naturalWidth + GAP) / COLUMNS - GAP, rows = (picture.naturalHeight + GAP) / (side + GAP);
    const isGrid = Number.isInteger(side) && Number.isInteger(rows);
    const columns = !isGrid ? [0] : this.alone.checked ? [COLUMNS - 1] : [0, 1, 2];
    this.tiles.classList.toggle("large", isGrid && this.alone.checked);
    this.tiles.style.setProperty("--columns", columns.length);
    this.tiles.replaceChildren();
    for (let row = 0; row < (isGrid ? rows : 1); row++) {
      for (const column of columns) {
        const size = isGrid ? [side, side] : [picture.naturalWidth, picture.naturalHeight];
        const figure = element(this.tiles, "figure");
        const label = isGrid ? `slice ${row + 1}: ${DATA.tiles[column]}` : "validation slices";
        const canvas = element(figure, "canvas", { width: size[0], height: size[1], role: "img", "aria-label": `${label}, step ${step}` });
        canvas.getContext("2d").drawImage(picture, column * (side + GAP), row * (side + GAP), ...size, 0, 0, ...size);
        if (row === 0 || this.alone.checked) element(figure, "figcaption", {}, label);
      }
    }
  }
}

showAge();
setInterval(showAge, 60000);
showCharts();
if (DATA.examples.length) new Examples();
