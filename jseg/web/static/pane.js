// A photo with the answer of one model: the overlay, and the word under the pointer.

import { colourIn, drawRegions } from "./draw.js";

const LONGEST = 960; // pixels of the canvas. Smaller images are enlarged up to this size.
const PIXEL_ART = 128; // largest side of images that are enlarged without smoothing
const STEP = 32; // key presses across the photo

export class Pane {
  // `pointed(place)` is called with the position [x, y] of the pointer, from 0 to 1, or null outside of the photo.
  constructor(pointed) {
    this.element = document.createElement("figure");
    this.element.className = "pane";
    this.title = document.createElement("figcaption");
    this.canvas = document.createElement("canvas");
    this.readout = document.createElement("p");
    this.readout.className = "probe";
    this.readout.setAttribute("aria-live", "polite");
    this.element.append(this.title, this.canvas, this.readout);
    this.frame = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.place = null;
    this.answer = null;
    this.canvas.addEventListener("pointermove", (event) => pointed(this.placeOf(event)));
    this.canvas.addEventListener("pointerdown", (event) => pointed(this.placeOf(event)));
    this.canvas.addEventListener("pointerleave", () => pointed(null));
    this.canvas.addEventListener("blur", () => pointed(null));
    this.canvas.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!move) return;
      event.preventDefault();
      const from = this.place ?? [0.5, 0.5];
      pointed(from.map((value, i) => Math.min(0.999, Math.max(0, value + (this.place ? move[i] / STEP : 0)))));
    });
  }

  show(photo) {
    this.photo = photo;
    this.answer = null;
    const longest = Math.max(photo.width, photo.height);
    this.scale = Math.max(1, Math.floor(LONGEST / longest));
    for (const canvas of [this.canvas, this.frame]) {
      canvas.width = photo.width * this.scale;
      canvas.height = photo.height * this.scale;
    }
    this.canvas.style.setProperty("--ratio", photo.width / photo.height);
  }

  draw(options) {
    const context = this.frame.getContext("2d", { willReadFrequently: true });
    const { width, height } = this.frame;
    context.imageSmoothingEnabled = Math.max(this.photo.width, this.photo.height) > PIXEL_ART;
    context.drawImage(this.photo.bitmap, 0, 0, width, height);
    if (this.answer) {
      const { mask, classes, regions } = this.answer;
      const pixels = context.getImageData(0, 0, width, height);
      colourIn(pixels.data, mask, this.photo.width, this.photo.height, this.scale, classes, options);
      context.putImageData(pixels, 0, 0);
      if (options.grid && regions) drawRegions(context, regions, classes, this.magnification);
    }
    this.describe();
    this.point(this.place);
  }

  // Size of a pixel of the page in pixels of the canvas.
  get magnification() {
    return this.canvas.width / (this.canvas.clientWidth || this.canvas.width);
  }

  describe() {
    const found = this.answer?.classes.filter((word) => word.pixels) ?? [];
    const shares = found.map((word) => `${word.name} ${percent(word.share)}`).join(", ");
    const what = this.answer ? `Overlay: ${shares || "nothing was found"}.` : "The photo.";
    this.canvas.setAttribute("aria-label", `${what} Arrow keys read out single points.`);
  }

  placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((value) =>
      Math.min(0.999, Math.max(0, value)),
    );
  }

  // Shows word and score of a place in the photo, and marks it.
  point(place) {
    this.place = place;
    const context = this.canvas.getContext("2d");
    context.drawImage(this.frame, 0, 0);
    if (!place || !this.answer) {
      this.readout.textContent = "";
      return null;
    }
    const [x, y] = [place[0] * this.canvas.width, place[1] * this.canvas.height];
    for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * this.magnification;
      context.beginPath();
      context.arc(x, y, 7 * this.magnification, 0, 7);
      context.stroke();
    }
    const at = Math.floor(place[1] * this.photo.height) * this.photo.width + Math.floor(place[0] * this.photo.width);
    const word = this.answer.classes[this.answer.mask[at]];
    const score = percent(this.answer.confidence[at] / 255);
    this.readout.textContent = (word ? `${word.name} ${score}` : `nothing (best score ${score})`) + this.region(place);
    return word?.index ?? null;
  }

  region(place) {
    const { regions, classes } = this.answer;
    if (!regions) return "";
    const cell = Math.floor(place[1] * regions.rows) * regions.columns + Math.floor(place[0] * regions.columns);
    return ` · region: ${classes[regions.best[cell]].name} ${percent(regions.probability[cell])}`;
  }
}

export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
