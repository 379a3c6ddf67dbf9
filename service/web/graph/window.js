/** A window on a larger drawing, zoomed by buttons, keys and the wheel, and moved by scrolling. */

import { el } from "../dom.js";

const STEP = 1.25;
const LEAST = 0.02;
const MOST = 4;
const READABLE = 0.6;
const DRAG_PX = 4;

const KEYS = { "+": STEP, "=": STEP, "-": 1 / STEP };

/** The window, `place`, and the buttons that zoom it, `controls`; `open` it once it is on the page. */
export class DrawingWindow {
  constructor(drawing, { width, height }) {
    Object.assign(this, { drawing, width, height, scale: 1 });
    this.told = el("span", { class: "muted", role: "status" });
    // It is not higher than a small drawing needs; a large one scrolls.
    const style = { "max-height": `${height + 4}px` };
    this.place = el("div", { class: "graph-window", style }, drawing);
    const button = (text, click, label) =>
      el("button", { type: "button", class: "small", "aria-label": label, click }, text);
    this.controls = el(
      "div",
      { class: "row controls" },
      button("−", () => this.zoom(1 / STEP), "Zoom out"),
      button("+", () => this.zoom(STEP), "Zoom in"),
      button("Whole graph", () => this.fit()),
      button("Full size", () => this.zoom(1 / this.scale)),
      this.told,
    );
    this.place.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.place.addEventListener("keydown", (event) => this.#key(event));
    this.#drag();
  }

  /** Show the top of the drawing around `x`, in its whole width if it is readable then. */
  open(x) {
    const { place } = this;
    this.#scaleTo(Math.min(1, Math.max(READABLE, place.clientWidth / this.width)));
    place.scrollLeft = x * this.scale - place.clientWidth / 2;
    place.scrollTop = 0;
  }

  /** Zoom so that the whole drawing is seen. */
  fit() {
    const { clientWidth, clientHeight } = this.place;
    this.#scaleTo(Math.min(1, clientWidth / this.width, clientHeight / this.height));
  }

  /** Zoom by a factor; the point at (x, y) of the window stays where it is, else its middle. */
  zoom(factor, x = this.place.clientWidth / 2, y = this.place.clientHeight / 2) {
    const { place } = this;
    const before = this.scale;
    const left = place.scrollLeft + x;
    const top = place.scrollTop + y;
    this.#scaleTo(before * factor);
    place.scrollLeft = (left * this.scale) / before - x;
    place.scrollTop = (top * this.scale) / before - y;
  }

  #scaleTo(scale) {
    this.scale = Math.min(MOST, Math.max(LEAST, scale));
    this.drawing.setAttribute("width", this.width * this.scale);
    this.drawing.setAttribute("height", this.height * this.scale);
    this.told.textContent = `${Math.round(100 * this.scale)} %`;
  }

  /** Zoom if Ctrl is held, as in maps; touch pads report a pinch so. Otherwise, the window scrolls. */
  #wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const { left, top } = this.place.getBoundingClientRect();
    const factor = Math.exp(-event.deltaY / 300);
    this.zoom(factor, event.clientX - left, event.clientY - top);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (KEYS[event.key]) this.zoom(KEYS[event.key]);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  /** Let a mouse drag the drawing; touch scrolls it anyway. */
  #drag() {
    const { place } = this;
    let start = null;
    place.addEventListener("pointerdown", ({ pointerType, button, clientX, clientY }) => {
      if (pointerType === "mouse" && button === 0)
        start = { x: clientX + place.scrollLeft, y: clientY + place.scrollTop, clientX, clientY };
    });
    place.addEventListener("pointermove", (event) => {
      if (!start) return;
      const moved = Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY);
      if (moved > DRAG_PX) place.setPointerCapture(event.pointerId);
      place.scrollLeft = start.x - event.clientX;
      place.scrollTop = start.y - event.clientY;
    });
    for (const end of ["pointerup", "pointercancel"])
      place.addEventListener(end, () => (start = null));
  }
}
