"use strict";
// The report of a comparison: plots by subject, the slices of a chosen subject, and how slices are shown.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (name) => document.getElementById(name);
const state = { metric: data.first, pair: data.pair, chosen: null };
const plots = [];

function labelled(text, element) {
  const label = document.createElement("label");
  label.append(text, " ", element);
  return label;
}

function choice(id, names, chosen, changed) {
  const select = document.createElement("select");
  select.id = id;
  names.forEach((name, i) => select.append(new Option(name, i, false, i === chosen)));
  select.addEventListener("change", () => changed(Number(select.value)));
  return select;
}

// Opens a subject's part and moves there.
function showSubject(subject) {
  const part = byId(`subject-${subject}`);
  part.closest("details").open = true;
  part.focus({ preventScroll: true });
  part.closest("details").scrollIntoView({ block: "start" });
}

function chooseSubject(subject) {
  state.chosen = subject;
  byId("plot-subject").value = String(subject ?? -1);
  byId("open-subject").disabled = subject === null;
  drawPlots();
}

function subjectText(subject) {
  const metric = data.metrics[state.metric];
  const score = (system) => metric.values[system][subject]?.toFixed(metric.decimals) ?? "none";
  return `${data.subjects[subject]}: ${data.systems.map((name, i) => `${name} ${score(i)}`).join(", ")}`;
}

// Makes a plot: the pointer names the nearest subject, a press opens its slices; arrows choose a subject, Enter opens it.
function makePlot(label, draw) {
  const figure = document.createElement("figure"), tooltip = document.createElement("div");
  const svg = svgElement("svg", { tabindex: 0, role: "group", "aria-label": `${label}; arrow keys choose a subject, Enter opens its slices` });
  tooltip.className = "tooltip";
  tooltip.hidden = true;
  figure.append(svg, tooltip);
  byId("plot-place").append(figure);
  const plot = { svg, points: [] };
  plot.draw = () => {
    svg.replaceChildren();
    plot.points = draw(svg);
  };
  svg.addEventListener("pointermove", (event) => {
    const point = nearestPoint(svg, plot.points, event);
    tooltip.hidden = point === null;
    if (point === null) return;
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    tooltip.textContent = data.subjects[point.subject];
    tooltip.style.left = `${point.x * scale}px`;
    tooltip.style.top = `${point.y * scale}px`;
    if (point.subject !== state.chosen) chooseSubject(point.subject);
  });
  svg.addEventListener("pointerleave", () => { tooltip.hidden = true; });
  svg.addEventListener("click", (event) => {
    const point = nearestPoint(svg, plot.points, event);
    if (point !== null) showSubject(point.subject);
  });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], count = data.subjects.length;
    if (step) chooseSubject(state.chosen === null ? (step > 0 ? 0 : count - 1) : (state.chosen + step + count) % count);
    else if (event.key === "Enter" && state.chosen !== null) showSubject(state.chosen);
    else return;
    event.preventDefault();
  });
  plots.push(plot);
}

function drawPlots() {
  plots.forEach((plot) => plot.draw());
  byId("chosen-text").textContent = state.chosen === null ? "" : subjectText(state.chosen);
}

// Writes the chosen metric's scores into the table of subjects, and sorts it as before the choice.
function fillScores() {
  const metric = data.metrics[state.metric], table = byId("score-table");
  sortTable(table, 0, "none");
  byId("score-name").textContent = metric.title;
  [...table.tBodies[0].rows].forEach((row, subject) => data.systems.forEach((_, system) => {
    const value = metric.values[system][subject], cell = row.cells[system + 1], text = value?.toFixed(metric.decimals) ?? "-";
    cell.textContent = text;
    if (value === null) delete cell.dataset.sort;
    else cell.dataset.sort = value;
  }));
}

function makePlots() {
  const controls = byId("plot-controls"), open = document.createElement("button"), text = document.createElement("p");
  const changed = (change) => (value) => { change(value); drawPlots(); };
  open.id = "open-subject";
  open.textContent = "Show its slices";
  open.disabled = true;
  open.addEventListener("click", () => showSubject(state.chosen));
  const subjects = choice("plot-subject", data.subjects, null, (subject) => chooseSubject(subject < 0 ? null : subject));
  subjects.prepend(new Option("none", -1, true, true));
  controls.append(labelled("score", choice("plot-metric", data.metrics.map(({ title }) => title), state.metric, changed((metric) => { state.metric = metric; fillScores(); }))));
  if (data.systems.length > 1) {
    controls.append(labelled("across", choice("plot-a", data.systems, state.pair[0], changed((system) => { state.pair[0] = system; }))));
    controls.append(labelled("up", choice("plot-b", data.systems, state.pair[1], changed((system) => { state.pair[1] = system; }))));
  }
  controls.append(labelled("subject", subjects), open);
  controls.hidden = false;
  text.id = "chosen-text";
  text.setAttribute("role", "status");
  byId("plot-place").after(text);
  makePlot("Scores of every subject under each system", (svg) => linePlot(svg, data.metrics[state.metric], data.systems, state.chosen));
  if (data.systems.length > 1) makePlot("Two systems against each other", (svg) => pairPlot(svg, data.metrics[state.metric], data.systems, state.pair, state.chosen));
  drawPlots();
  addEventListener("resize", drawPlots);
}

function makeView() {
  byId("view").hidden = false;
  for (const part of ["whole", "hole", "outline"]) {
    byId(`show-${part}`).addEventListener("change", (event) => document.body.classList.toggle(`no-${part}`, !event.target.checked));
  }
  byId("tile-size").addEventListener("input", (event) => document.body.style.setProperty("--tile-size", `${event.target.value}px`));
}

// Lets a press on a fill show the image in its place, to flicker between the two.
function makeFlicker(tiles) {
  const figures = [...tiles.children];
  for (const [i, figure] of figures.slice(1, -1).entries()) {
    figure.tabIndex = 0;
    figure.setAttribute("role", "button");
    figure.setAttribute("aria-pressed", "false");
    const toggle = () => {
      const pressed = figure.getAttribute("aria-pressed") !== "true";
      figure.setAttribute("aria-pressed", String(pressed));
      figure.style.setProperty("--i", pressed ? figures.length - 1 : i + 1);
    };
    figure.addEventListener("click", toggle);
    figure.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      toggle();
    });
  }
}

// Opens the part that the address names, also in browsers that do not open closed parts by themselves.
function followAddress() {
  const found = /^#subject-(\d+)$/.exec(location.hash);
  if (found && byId(`subject-${found[1]}`)) showSubject(Number(found[1]));
}

makePlots();
makeView();
document.querySelectorAll(".tiles:not(.alone)").forEach(makeFlicker);
addEventListener("hashchange", followAddress);
followAddress();
