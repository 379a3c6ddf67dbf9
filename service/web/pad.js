/** A pad to draw a digit on, by pointer or by keyboard, in white on black as MNIST has them. */

import { el } from "./dom.js";

const SIDE = 280;
const PEN = 20;
const STEP = 10;
const DIGIT = 200 / 280; // MNIST fits its digits into 20 of 28 pixels, their centre of mass in the middle
const REST_MS = 250;
const MOST_UNDONE = 20;

const MOVES = {
  ArrowLeft: [-STEP, 0],
  ArrowRight: [STEP, 0],
  ArrowUp: [0, -STEP],
  ArrowDown: [0, STEP],
};

/** The pad; `drawn` gets a PNG each time that the pen rests. */
export function drawingPad(drawn) {
  const canvas = el("canvas", {
    width: SIDE,
    height: SIDE,
    class: "pad",
    tabindex: "0",
    role: "img",
    "aria-label":
      "Drawing pad. Arrow keys move the pen, the space bar lifts and lowers it, Ctrl+Z undoes a stroke, Delete clears.",
  });
  // The place of the keyboard's pen, which is visible while the pad has the focus.
  const mark = el("span", { class: "pen", "aria-hidden": "true" });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  Object.assign(context, {
    lineWidth: PEN,
    lineCap: "round",
    lineJoin: "round",
    strokeStyle: "white",
  });
  const pen = { at: null, key: [SIDE / 2, SIDE / 2], isDown: false, timer: 0 };

  const before = []; // the pictures before the last strokes
  const keep = () => {
    before.push(context.getImageData(0, 0, SIDE, SIDE));
    if (before.length > MOST_UNDONE) before.shift();
  };
  const erase = () => {
    context.fillStyle = "black";
    context.fillRect(0, 0, SIDE, SIDE);
  };
  const clear = () => {
    keep();
    erase();
  };
  const undo = () => {
    if (!before.length) return;
    context.putImageData(before.pop(), 0, 0);
    rest();
  };
  const line = (to) => {
    context.beginPath();
    context.moveTo(...(pen.at ?? to));
    context.lineTo(...to);
    context.stroke();
    pen.at = to;
  };
  const point = () => {
    mark.style.setProperty("left", `${(100 * pen.key[0]) / SIDE}%`);
    mark.style.setProperty("top", `${(100 * pen.key[1]) / SIDE}%`);
    mark.toggleAttribute("data-down", pen.isDown);
  };
  const rest = () => {
    clearTimeout(pen.timer);
    pen.timer = setTimeout(async () => {
      const image = await centred(canvas);
      if (image) drawn(image);
    }, REST_MS);
  };
  const place = ({ offsetX, offsetY }) => [
    (offsetX * SIDE) / canvas.clientWidth,
    (offsetY * SIDE) / canvas.clientHeight,
  ];

  canvas.addEventListener("pointerdown", (event) => {
    // Neither the menu of the right button nor a second finger draws.
    if (event.button || !event.isPrimary) return;
    canvas.setPointerCapture(event.pointerId);
    clearTimeout(pen.timer);
    keep();
    pen.at = null;
    line(place(event));
  });
  canvas.addEventListener(
    "pointermove",
    (event) => pen.at && event.isPrimary && event.buttons & 1 && line(place(event)),
  );
  const lift = ({ isPrimary }) => {
    if (!isPrimary || !pen.at) return;
    pen.at = null;
    rest();
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("keydown", (event) => {
    if (event.key === " ") {
      pen.isDown = !pen.isDown;
      pen.at = null;
      if (pen.isDown) {
        keep();
        line(pen.key);
      }
    } else if (event.key === "Delete") {
      clear();
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      undo();
    } else if (event.key in MOVES) {
      const [x, y] = MOVES[event.key];
      const inside = (value) => Math.min(SIDE, Math.max(0, value));
      pen.key = [inside(pen.key[0] + x), inside(pen.key[1] + y)];
      if (pen.isDown) line(pen.key);
    } else return;
    event.preventDefault();
    point();
    if (pen.isDown) rest();
  });
  erase();
  point();
  return el(
    "div",
    { class: "pad-box" },
    el("div", { class: "pad-frame" }, canvas, mark),
    el(
      "div",
      {},
      el("p", { class: "muted hint" }, "Drawings are centred and scaled like MNIST digits."),
      el(
        "div",
        { class: "row" },
        el("button", { type: "button", class: "small", click: undo }, "Undo"),
        el("button", { type: "button", class: "small", click: clear }, "Clear"),
      ),
    ),
  );
}

/** Return the drawing, as large and as central as MNIST's digits; null if there is none. */
async function centred(canvas) {
  const found = extent(canvas.getContext("2d").getImageData(0, 0, SIDE, SIDE).data);
  if (!found) return null;
  const { left, top, width, height, x, y } = found;
  const scale = (DIGIT * SIDE) / Math.max(width, height);
  const result = new OffscreenCanvas(SIDE, SIDE);
  const context = result.getContext("2d");
  context.fillRect(0, 0, SIDE, SIDE);
  context.drawImage(
    canvas,
    ...[left, top, width, height],
    ...[SIDE / 2 - (x - left) * scale, SIDE / 2 - (y - top) * scale, width * scale, height * scale],
  );
  return result.convertToBlob({ type: "image/png" });
}

/** Return the bounding box and the centre of mass of all pixels that are not black. */
function extent(pixels) {
  let [left, top, right, bottom, sum, x, y] = [SIDE, SIDE, -1, -1, 0, 0, 0];
  for (let index = 0; index < SIDE * SIDE; index += 1) {
    const value = pixels[4 * index];
    if (!value) continue;
    const [column, row] = [index % SIDE, Math.floor(index / SIDE)];
    left = Math.min(left, column);
    right = Math.max(right, column);
    top = Math.min(top, row);
    bottom = Math.max(bottom, row);
    sum += value;
    x += value * column;
    y += value * row;
  }
  if (!sum) return null;
  return { left, top, width: right - left + 1, height: bottom - top + 1, x: x / sum, y: y / sum };
}
