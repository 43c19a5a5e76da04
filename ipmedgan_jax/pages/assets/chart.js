"use strict";
// Line charts in SVG. `new LineChart(parent, chart, options)` draws a chart of the page's data: title, note, log, best, and
// series of steps and values (null is a gap) with means where the curve was thinned. Values are read by mouse, touch or keys.

const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "4 2", "12 4"];
const TABLE_ROWS = 60;

function element(parent, name, attributes, text) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function drawn(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function shown(value) {
  if (value === null || value === undefined) return "not finite";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

function roundTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
  const digits = last - first <= 2 ? [1, 2, 5] : [1];
  const apart = Math.max(1, Math.ceil((last - first) / 6));
  const ticks = [];
  for (let power = first; power <= last; power += apart) for (const digit of digits) ticks.push(Number(`${digit}e${power}`));
  return ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
}

// An average in which each point's weight halves every 5 points; gaps stay gaps.
function smoothed(values) {
  let mean = 0, weight = 0;
  const keep = 2 ** (-1 / 5);
  return values.map((value) => {
    if (value === null) return null;
    mean = keep * mean + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    return mean / weight;
  });
}

class LineChart {
  constructor(parent, chart, options) {
    this.chart = chart;
    this.options = options;
    this.log = chart.log && this.canBeLog();
    this.at = null;
    this.box = element(parent, "div", { class: "chart" });
    element(this.box, "h3", {}, chart.title);
    if (chart.note) element(this.box, "p", { class: "note" }, chart.note);
    this.plot = element(this.box, "div", { tabindex: "0", role: "group", "aria-label": `${chart.title}: use the arrow keys for values` });
    this.legend = element(this.box, "ul", { class: "legend" });
    this.said = element(this.box, "p", { class: "note", "aria-live": "polite" });
    this.makeTools();
    this.steps = [...new Set(chart.series.flatMap((series) => series.steps))].sort((a, b) => a - b);
    this.listen();
    this.draw();
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  canBeLog() {
    return this.chart.series.some((series) => series.values.some((value) => value > 0));
  }

  makeTools() {
    const tools = element(this.box, "div", { class: "tools" });
    const label = element(tools, "label");
    const box = element(label, "input", { type: "checkbox" });
    label.append(" Log scale");
    box.checked = this.log;
    box.disabled = !this.canBeLog();
    box.addEventListener("change", () => { this.log = box.checked; this.draw(); });
    const table = element(this.box, "details");
    element(table, "summary", {}, "Table");
    table.addEventListener("toggle", () => { if (table.open && table.children.length === 1) this.makeTable(table); });
  }

  listen() {
    this.plot.addEventListener("pointermove", (event) => this.pointAt(event.clientX));
    this.plot.addEventListener("pointerdown", (event) => this.pointAt(event.clientX));
    this.plot.addEventListener("pointerleave", () => { if (document.activeElement !== this.plot) this.moveTo(null); });
    this.plot.addEventListener("focus", () => { if (this.at === null) this.moveTo(this.steps.length - 1); });
    this.plot.addEventListener("blur", () => this.moveTo(null));
    this.plot.addEventListener("keydown", (event) => this.onKey(event));
  }

  onKey(event) {
    const last = this.steps.length - 1, now = this.at === null ? last : this.at;
    const target = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 10, PageDown: now + 10, Home: 0, End: last, Escape: null }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    this.moveTo(target === null ? null : Math.max(0, Math.min(last, target)), true);
  }

  pointAt(clientX) {
    const left = this.plot.getBoundingClientRect().left + this.frame.left;
    const step = (clientX - left) / this.frame.width * (this.frame.high - this.frame.low) + this.frame.low;
    let nearest = 0;
    this.steps.forEach((value, i) => { if (Math.abs(value - step) < Math.abs(this.steps[nearest] - step)) nearest = i; });
    this.moveTo(nearest);
  }

  moveTo(index, aloud) {
    this.at = index;
    this.drawCursor();
    if (aloud && index !== null) this.said.textContent = this.describe(this.steps[index]);
    else this.said.textContent = index === null ? "" : `step ${this.steps[index].toLocaleString("en")}`;
  }

  describe(step) {
    const values = this.chart.series.map((series) => [series.name, this.valueAt(series, step)]).filter(([, value]) => value !== undefined);
    return `step ${step.toLocaleString("en")}: ` + values.map(([name, value]) => `${name} ${shown(value)}`).join(", ");
  }

  valueAt(series, step) {
    const index = series.steps.indexOf(step);
    return index < 0 ? undefined : series.values[index];
  }

  // What is drawn of a series: steps and values; the means of a thinned curve, or all points, smoothed.
  line(series, smooth) {
    if (!smooth) return [series.steps, series.values];
    if (series.means) return [series.means.map((mean) => mean[0]), smoothed(series.means.map((mean) => mean[1]))];
    return [series.steps, smoothed(series.values)];
  }

  isSmooth(series) {
    return this.options.smooth() && series.steps.length > 8;
  }

  draw() {
    const width = Math.max(240, this.plot.clientWidth), height = 210;
    const values = this.chart.series.flatMap((series) => series.values).filter((value) => value !== null && (!this.log || value > 0));
    this.plot.replaceChildren();
    const svg = drawn(this.plot, "svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true" });
    this.frame = { left: 56, top: 10, width: width - 68, height: height - 46, low: 0, high: this.options.last };
    this.setScale(values);
    this.drawAxes(svg);
    this.drawMarks(svg);
    this.chart.series.forEach((series, i) => this.drawSeries(svg, series, i));
    this.drawBest(svg);
    this.cursor = drawn(svg, "g", {});
    this.drawCursor();
  }

  setScale(values) {
    let low = values.length ? Math.min(...values) : 0, high = values.length ? Math.max(...values) : 1;
    if (low === high) { low = this.log ? low / 2 : low - Math.abs(low) * 0.05 - 1e-9; high = this.log ? high * 2 : high + Math.abs(high) * 0.05 + 1e-9; }
    const convert = this.log ? Math.log10 : (value) => value;
    const margin = (convert(high) - convert(low)) * 0.05;
    const bottom = convert(low) - margin, top = convert(high) + margin, frame = this.frame;
    this.y = (value) => frame.top + frame.height * (1 - (convert(value) - bottom) / (top - bottom));
    this.x = (step) => frame.left + frame.width * (step - frame.low) / (frame.high - frame.low || 1);
    this.ticks = this.log ? logTicks(10 ** bottom, 10 ** top) : roundTicks(bottom, top, 4);
    if (this.ticks.length < 2) this.ticks = [low, high];
  }

  drawAxes(svg) {
    const { left, top, width, height, low, high } = this.frame;
    for (const tick of this.ticks) {
      const y = this.y(tick);
      drawn(svg, "line", { class: "grid", x1: left, x2: left + width, y1: y, y2: y });
      drawn(svg, "text", { x: left - 6, y: y + 4, "text-anchor": "end" }, shown(tick));
    }
    for (const tick of roundTicks(low, high, Math.max(2, Math.floor(width / 70)))) {
      const anchor = this.x(tick) > left + width - 14 ? "end" : "middle";
      drawn(svg, "text", { x: this.x(tick), y: top + height + 16, "text-anchor": anchor }, tick.toLocaleString("en"));
    }
    drawn(svg, "text", { x: left + width, y: top + height + 32, "text-anchor": "end" }, "step");
  }

  drawMarks(svg) {
    for (const mark of this.options.marks) {
      if (mark.step <= this.frame.low || mark.step >= this.frame.high) continue;
      const x = this.x(mark.step);
      const line = drawn(svg, "line", { class: "mark", x1: x, x2: x, y1: this.frame.top, y2: this.frame.top + this.frame.height });
      drawn(line, "title", {}, `step ${mark.step}: ${mark.text}`);
      if (this.chart.best === undefined) drawn(svg, "text", { class: "mark-text", x: x + 3, y: this.frame.top + 8 }, mark.text);
    }
  }

  drawSeries(svg, series, index) {
    const style = { stroke: `var(--line-${index % 6})`, "stroke-dasharray": DASHES[Math.floor(index / 6) % DASHES.length || index % DASHES.length] };
    const smooth = this.isSmooth(series);
    if (smooth) this.drawLine(svg, series.steps, series.values, { class: "curve raw", stroke: style.stroke });
    const [steps, values] = this.line(series, smooth);
    this.drawLine(svg, steps, values, { class: "curve", ...style });
    if (steps.length > 40) return;
    values.forEach((value, i) => { if (this.fits(value)) drawn(svg, "circle", { cx: this.x(steps[i]), cy: this.y(value), r: 2.2, fill: style.stroke }); });
  }

  fits(value) {
    return value !== null && (!this.log || value > 0);
  }

  drawLine(svg, steps, values, attributes) {
    let path = "", pen = "M";
    values.forEach((value, i) => {
      if (this.fits(value)) { path += `${pen}${this.x(steps[i]).toFixed(1)} ${this.y(value).toFixed(1)}`; pen = "L"; } else pen = "M";
    });
    if (path) drawn(svg, "path", { d: path, ...attributes });
  }

  bestValue() {
    const step = this.chart.best;
    return step === null || step === undefined ? undefined : this.valueAt(this.chart.series[0], step);
  }

  drawBest(svg) {
    const step = this.chart.best, value = this.bestValue();
    if (value === undefined || !this.fits(value)) return;
    drawn(svg, "circle", { class: "best", cx: this.x(step), cy: this.y(value), r: 5 });
  }

  drawCursor() {
    this.cursor.replaceChildren();
    const step = this.at === null ? null : this.steps[this.at];
    if (step !== null) {
      const x = this.x(step);
      drawn(this.cursor, "line", { class: "cursor", x1: x, x2: x, y1: this.frame.top, y2: this.frame.top + this.frame.height });
    }
    this.legend.replaceChildren();
    this.chart.series.forEach((series, i) => this.drawKey(series, i, step));
    if (this.bestValue() !== undefined) this.drawBestKey();
  }

  drawKey(series, index, step) {
    const colour = `var(--line-${index % 6})`;
    const value = step === null ? undefined : this.valueAt(series, step);
    if (step !== null && value !== undefined && this.fits(value)) drawn(this.cursor, "circle", { cx: this.x(step), cy: this.y(value), r: 4, fill: colour });
    const item = element(this.legend, "li");
    const key = drawn(item, "svg", { viewBox: "0 0 26 10", "aria-hidden": "true" });
    drawn(key, "line", { x1: 0, x2: 26, y1: 5, y2: 5, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": DASHES[Math.floor(index / 6) % DASHES.length || index % DASHES.length] });
    const last = series.values[series.values.length - 1];
    item.append(` ${series.name} ${step === null ? shown(last) : value === undefined ? "" : shown(value)}`);
  }

  drawBestKey() {
    const item = element(this.legend, "li", { class: "best-key" });
    const key = drawn(item, "svg", { viewBox: "0 0 14 14", "aria-hidden": "true" });
    drawn(key, "circle", { class: "best", cx: 7, cy: 7, r: 5 });
    const name = this.chart.chooses ? "best checkpoint" : "best";
    item.append(` ${name} ${shown(this.bestValue())} at step ${this.chart.best.toLocaleString("en")}`);
  }

  makeTable(parent) {
    const every = Math.ceil(this.steps.length / TABLE_ROWS);
    const box = element(parent, "div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `${this.chart.title}, table` });
    if (every > 1) element(box, "p", { class: "note" }, `One of ${every} drawn points.`);
    const table = element(box, "table");
    const head = element(element(table, "thead"), "tr");
    for (const name of ["step", ...this.chart.series.map((series) => series.name)]) element(head, "th", { scope: "col", class: "number" }, name);
    const body = element(table, "tbody");
    this.steps.filter((_, i) => i % every === 0 || i === this.steps.length - 1).forEach((step) => {
      const row = element(body, "tr");
      element(row, "th", { scope: "row", class: "number" }, step.toLocaleString("en"));
      for (const series of this.chart.series) {
        const value = this.valueAt(series, step);
        element(row, "td", { class: "number" }, value === undefined ? "" : shown(value));
      }
    });
  }
}
