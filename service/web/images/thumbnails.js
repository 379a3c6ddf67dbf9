/** Small pictures of images, made when they come into view, a few at a time. */

import { el } from "../dom.js";

export const SIDE = 96;

const MOST_AT_ONCE = 2;

/** Pictures that are kept: each takes 36 kB. */
const MOST_KEPT = 600;

const kept = new Map();
const waiting = [];
let running = 0;

/** A canvas for a file, which is drawn as soon as it can be while it is in the document. */
export function thumbnail(file) {
  const canvas = el("canvas", {
    width: SIDE,
    height: SIDE,
    class: "thumbnail",
    "aria-hidden": "true",
  });
  const picture = kept.get(file);
  if (picture) canvas.getContext("2d").drawImage(picture, 0, 0);
  else {
    waiting.push({ file, canvas });
    // The list puts it into the document first.
    requestAnimationFrame(work);
  }
  return canvas;
}

async function work() {
  while (running < MOST_AT_ONCE && waiting.length) {
    const { file, canvas } = waiting.pop(); // the newest is in view
    if (!canvas.isConnected) continue;
    running += 1;
    draw(file, canvas).finally(() => {
      running -= 1;
      work();
    });
  }
}

async function draw(file, canvas) {
  const bitmap = await createImageBitmap(file).catch(() => null); // a format that only the server knows
  const context = canvas.getContext("2d");
  if (!bitmap) {
    canvas.classList.add("unknown");
    return;
  }
  const scale = SIDE / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [scale * bitmap.width, scale * bitmap.height];
  context.imageSmoothingEnabled = scale < 1;
  context.imageSmoothingQuality = "medium";
  context.drawImage(bitmap, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
  bitmap.close();
  kept.set(file, canvas);
  if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
}
