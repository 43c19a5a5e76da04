"use strict";
// Plots of subjects' scores as SVG: one line a system, and two systems against each other.

const SVG = "http://www.w3.org/2000/svg";

function svgElement(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function spanOf(values) {
  const known = values.filter((value) => value !== null);
  const low = Math.min(...known), high = Math.max(...known);
  const margin = 0.05 * (high - low) || Math.max(0.05 * Math.abs(high), 1e-3);
  return known.length ? [low - margin, high + margin] : [0, 1];
}

function ticksOf([low, high], atMost) {
  const smallest = (high - low) / atMost, power = 10 ** Math.floor(Math.log10(smallest));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= smallest * (1 - 1e-9));
  const marks = [], decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) marks.push([i * step, (i * step).toFixed(decimals)]);
  return marks;
}

function setSize(svg, width, height) {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.maxWidth = `${width}px`;
}

function shortened(text, most) {
  return text.length > most ? text.slice(0, most - 1) + "\u2026" : text;
}

// Draws each system's subjects on a line, with the mean, its interval, and the mean of each of several seeds; joins the chosen
// subject's dots.
function linePlot(svg, metric, systems, chosen) {
  const narrow = innerWidth < 600, width = narrow ? 380 : 640, left = narrow ? 128 : 190, line = 38, top = 8;
  const bottom = top + systems.length * line, span = spanOf([metric.values, metric.seeds, metric.intervals].flat(2));
  const across = (value) => left + (value - span[0]) / (span[1] - span[0]) * (width - left - 12);
  const middle = (system) => top + (system + 0.5) * line;
  setSize(svg, width, bottom + 44);
  for (const [mark, text] of ticksOf(span, narrow ? 4 : 7)) {
    svg.append(svgElement("line", { class: "grid", x1: across(mark), x2: across(mark), y1: top, y2: bottom }));
    svg.append(svgElement("text", { class: "faint", x: across(mark), y: bottom + 16, "text-anchor": "middle" }, text));
  }
  svg.append(svgElement("text", { x: (left + width) / 2, y: bottom + 36, "text-anchor": "middle" }, `${metric.title} in the hole`));
  const points = [];
  systems.forEach((name, system) => {
    const y = middle(system), interval = metric.intervals[system], mean = metric.means[system];
    const label = svgElement("text", { x: left - 10, y: y + 4, "text-anchor": "end" }, shortened(name, narrow ? 15 : 26));
    label.append(svgElement("title", {}, name));
    svg.append(label);
    metric.values[system].forEach((value, subject) => {
      if (value === null) return;
      points.push({ x: across(value), y, subject, system });
      svg.append(svgElement("circle", { class: "dot", cx: across(value), cy: y, r: 4.5 }));
    });
    if (interval) svg.append(svgElement("line", { class: "interval", x1: across(interval[0]), x2: across(interval[1]), y1: y, y2: y }));
    for (const seed of metric.seeds[system]) {
      if (seed !== null) svg.append(svgElement("line", { class: "seed", x1: across(seed), x2: across(seed), y1: y - 17, y2: y + 17 }));
    }
    if (mean !== null) svg.append(svgElement("line", { class: "mean", x1: across(mean), x2: across(mean), y1: y - 11, y2: y + 11 }));
  });
  const marked = points.filter((point) => point.subject === chosen);
  if (marked.length) svg.append(svgElement("polyline", { class: "path", points: marked.map((point) => `${point.x},${point.y}`).join(" ") }));
  for (const point of marked) svg.append(svgElement("circle", { class: "chosen", cx: point.x, cy: point.y, r: 6 }));
  return points;
}

// Draws one system's scores against another's, with the line of equal scores.
function pairPlot(svg, metric, systems, [a, b], chosen) {
  const size = 460, left = 64, bottom = size - 52, top = 10, span = spanOf([...metric.values[a], ...metric.values[b]]);
  const share = (value) => (value - span[0]) / (span[1] - span[0]);
  const across = (value) => left + share(value) * (size - left - 12), up = (value) => bottom - share(value) * (bottom - top);
  setSize(svg, size, size);
  for (const [mark, text] of ticksOf(span, 6)) {
    svg.append(svgElement("line", { class: "grid", x1: across(mark), x2: across(mark), y1: top, y2: bottom }));
    svg.append(svgElement("line", { class: "grid", x1: left, x2: size - 12, y1: up(mark), y2: up(mark) }));
    svg.append(svgElement("text", { class: "faint", x: across(mark), y: bottom + 16, "text-anchor": "middle" }, text));
    svg.append(svgElement("text", { class: "faint", x: left - 6, y: up(mark) + 4, "text-anchor": "end" }, text));
  }
  svg.append(svgElement("line", { class: "interval", "stroke-dasharray": "5 5", x1: across(span[0]), y1: up(span[0]), x2: across(span[1]), y2: up(span[1]) }));
  svg.append(svgElement("text", { x: (left + size) / 2, y: size - 14, "text-anchor": "middle" }, `${metric.title}, ${shortened(systems[a], 40)}`));
  svg.append(svgElement("text", { transform: `translate(14 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, shortened(systems[b], 45)));
  const points = [];
  metric.values[a].forEach((x, subject) => {
    const y = metric.values[b][subject];
    if (x !== null && y !== null) points.push({ x: across(x), y: up(y), subject });
  });
  for (const point of points) svg.append(svgElement("circle", { class: "dot", cx: point.x, cy: point.y, r: 5 }));
  for (const point of points.filter(({ subject }) => subject === chosen)) svg.append(svgElement("circle", { class: "chosen", cx: point.x, cy: point.y, r: 7 }));
  return points;
}

// Returns the point nearest to a pointer, at most 24 units of the drawing away.
function nearestPoint(svg, points, event) {
  const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal, scale = view.width / box.width;
  const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
  const distance = (point) => Math.hypot(point.x - x, point.y - y);
  const nearest = points.reduce((best, point) => (best === null || distance(point) < distance(best) ? point : best), null);
  return nearest !== null && distance(nearest) <= 24 ? nearest : null;
}
