// What is drawn over the picture: which plane the keys act on, the pen's ring, and the outline or box that is being drawn.
import { settings } from "./painter.js";

export class Overlay {
  #hover = null;

  constructor(canvas, desk) {
    this.canvas = canvas;
    this.desk = desk;
  }

  /** The place under the pointer, or null. */
  hover(spot) {
    this.#hover = spot && !spot.solid ? spot : null;
    this.draw();
  }

  draw() {
    const { canvas, desk } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    if (!desk.isOpen) return;
    this.#frame(pen);
    this.#ring(pen);
    this.#shape(pen);
  }

  #frame(pen) {
    const tile = this.desk.viewer.tileOf(this.desk.plane);
    if (!tile) return;
    pen.strokeStyle = document.activeElement === this.desk.canvas ? "rgba(108, 176, 255, 0.95)" : "rgba(108, 176, 255, 0.45)";
    pen.lineWidth = 2;
    pen.strokeRect(tile[0] + 1, tile[1] + 1, tile[2] - 2, tile[3] - 2);
  }

  #ring(pen) {
    if (!this.#hover || (settings.tool !== "pen" && settings.tool !== "eraser")) return;
    const { viewer } = this.desk;
    const place = viewer.place(this.#hover.at, this.#hover.plane);
    if (!place) return;
    pen.beginPath();
    pen.arc(place[0], place[1], Math.max(2, (settings.size / 2) * viewer.scaleOf(this.#hover.plane)), 0, 2 * Math.PI);
    twice(pen, settings.tool === "eraser" ? "#ffffff" : "#ffb366");
  }

  #shape(pen) {
    const { plane, points } = this.desk.painter.pending;
    if (points.length === 0) return;
    const places = points.map((point) => this.desk.viewer.place(point, plane)).filter(Boolean);
    pen.beginPath();
    places.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.fillStyle = "rgba(255, 140, 0, 0.25)";
    pen.fill();
    twice(pen, "#ffb366");
  }
}

/** A line that is seen on dark and on light. */
function twice(pen, colour) {
  for (const [style, width] of [
    ["rgba(0, 0, 0, 0.7)", 3],
    [colour, 1.5],
  ]) {
    pen.strokeStyle = style;
    pen.lineWidth = width;
    pen.stroke();
  }
}
