/** A part of a picture, chosen by pointer or keyboard; the rest of the picture is dimmed. */

import { el } from "./dom.js";

const FIRST = 0.75; // of each side
const STEP = 0.05; // of the longer side
const NEAR_PX = 14; // a pointer this near to a corner moves the corner
const LEAST_PX = 4; // a shorter drag is a click
const REST_MS = 250;

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * The part of a canvas that is chosen: `{left, top, width, height}` in pixels of the canvas, or null
 * for all of it. `changed` is called with it whenever it has stopped changing.
 *
 * `box` holds the canvas; `button` begins and ends the choice.
 */
export class Crop {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.mark = el("div", {
      class: "selection",
      role: "application",
      tabindex: "0",
      hidden: true,
      keydown: (event) => this.#key(event),
    });
    this.box = el(
      "div",
      {
        class: "picture-box",
        pointerdown: (event) => this.#down(event),
        pointermove: (event) => this.#drag?.(this.#at(event)),
        pointerup: () => this.#up(),
        pointercancel: () => this.#up(),
      },
      canvas,
      this.mark,
    );
    this.button = el("button", { type: "button", click: () => this.#toggle() }, "Crop");
    this.show(null);
  }

  /** Show the chosen part; null shows the whole picture. */
  show(part) {
    clearTimeout(this.timer);
    this.part = part;
    this.button.disabled = this.canvas.hidden;
    this.button.setAttribute("aria-pressed", String(Boolean(part)));
    this.box.toggleAttribute("data-cropping", Boolean(part));
    this.mark.hidden = !part;
    if (!part) return;
    const { left, top, width, height } = part;
    const share = (value, whole) => `${(100 * value) / whole}%`;
    this.mark.style.setProperty("left", share(left, this.canvas.width));
    this.mark.style.setProperty("top", share(top, this.canvas.height));
    this.mark.style.setProperty("width", share(width, this.canvas.width));
    this.mark.style.setProperty("height", share(height, this.canvas.height));
    this.mark.setAttribute(
      "aria-label",
      `Part of the image: ${width} × ${height} pixels at ${left}, ${top}. Arrow keys move it, Shift and arrow keys change its size, Escape chooses the whole image.`,
    );
  }

  /** Cancel the report of a part that is still changing: another image is shown. */
  forget() {
    clearTimeout(this.timer);
  }

  #drag = null;

  #toggle() {
    if (this.part) return this.#end();
    const { width, height } = this.canvas;
    const margin = (1 - FIRST) / 2;
    this.#choose([width * margin, height * margin], [width * (1 - margin), height * (1 - margin)]);
    this.mark.focus({ preventScroll: true });
    this.#rest();
  }

  #end() {
    this.show(null);
    this.button.focus({ preventScroll: true });
    this.changed(null);
  }

  /** Choose the part between two points, which may lie outside the canvas. */
  #choose([x, y], [otherX, otherY]) {
    const [left, right] = span(x, otherX, this.canvas.width);
    const [top, bottom] = span(y, otherY, this.canvas.height);
    this.show({ left, top, width: right - left, height: bottom - top });
  }

  #moveTo(x, y) {
    const { width, height } = this.part;
    const left = Math.round(within(x, this.canvas.width - width));
    const top = Math.round(within(y, this.canvas.height - height));
    this.show({ left, top, width, height });
  }

  #rest() {
    this.timer = setTimeout(() => this.changed(this.part), REST_MS);
  }

  /** The place of a pointer, in pixels of the canvas. */
  #at({ clientX, clientY }) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [
      ((clientX - left) * this.canvas.width) / width,
      ((clientY - top) * this.canvas.height) / height,
    ];
  }

  /** Begin to move the corner or the part under the pointer, or else to draw a new part. */
  #down(event) {
    if (!this.part || event.button) return;
    event.preventDefault(); // the focus stays
    this.box.setPointerCapture(event.pointerId);
    const before = this.part;
    const [x, y] = this.#at(event);
    const opposite = this.#cornerOpposite(x, y);
    const isInside =
      x > before.left &&
      x < before.left + before.width &&
      y > before.top &&
      y < before.top + before.height;
    if (!opposite && isInside) {
      this.#drag = ([toX, toY]) => this.#moveTo(before.left + toX - x, before.top + toY - y);
      return;
    }
    const least = LEAST_PX / this.#scale();
    this.#drag = (to) => {
      if (Math.hypot(to[0] - x, to[1] - y) >= least) this.#choose(opposite ?? [x, y], to);
    };
  }

  #up() {
    if (!this.#drag) return;
    this.#drag = null;
    this.#rest();
  }

  /** Screen pixels per canvas pixel. */
  #scale() {
    return this.canvas.getBoundingClientRect().width / this.canvas.width;
  }

  /** The corner that stays when the one near a place is moved; null if none is near. */
  #cornerOpposite(x, y) {
    const { left, top, width, height } = this.part;
    const near = NEAR_PX / this.#scale();
    for (const [fromX, toX] of [
      [left, left + width],
      [left + width, left],
    ])
      for (const [fromY, toY] of [
        [top, top + height],
        [top + height, top],
      ])
        if (Math.hypot(x - fromX, y - fromY) < near) return [toX, toY];
    return null;
  }

  #key(event) {
    if (event.key === "Escape") this.#end();
    else if (event.key in MOVES) {
      const step = Math.ceil(STEP * Math.max(this.canvas.width, this.canvas.height));
      const [x, y] = MOVES[event.key].map((sign) => sign * step);
      const { left, top, width, height } = this.part;
      if (event.shiftKey)
        this.#choose(
          [left, top],
          [Math.max(left + 1, left + width + x), Math.max(top + 1, top + height + y)],
        );
      else this.#moveTo(left + x, top + y);
      this.#rest();
    } else return;
    event.preventDefault();
  }
}

/** Return a new image of a part of *image*. */
export async function cropped(image, { left, top, width, height }) {
  const bitmap = await createImageBitmap(image);
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").drawImage(bitmap, left, top, width, height, 0, 0, width, height);
  // As PNG, a photo would be several times as large.
  const type = image.type === "image/jpeg" ? image.type : "image/png";
  return canvas.convertToBlob({ type, quality: 0.95 });
}

const within = (value, most) => Math.min(most, Math.max(0, value));

/** Round and sort two numbers; the results are in [0, *most*] and at least 1 apart. */
function span(one, other, most) {
  const [low, high] = [one, other].map((value) => within(Math.round(value), most)).sort(by);
  const start = Math.min(low, most - 1);
  return [start, Math.max(high, start + 1)];
}

const by = (one, other) => one - other;
