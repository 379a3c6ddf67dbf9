/** Why: the parts of the image that a class depends on, found by hiding them one after the other. */

import { askJson } from "./api.js";
import { el, labelled } from "./dom.js";
import { explain } from "./errors.js";
import { duration, percent, whole } from "./format.js";

const ABOUT =
  "Red: without this part, the class is less probable. Blue: without it, the class is more probable.";

let number = 0;

/** A button, and below it what it finds about `image` and its picture `seen`. */
export function why(model, image, seen) {
  const box = el("div", { class: "why" });
  const ask = async () => {
    box.setAttribute("aria-busy", "true");
    box.replaceChildren(el("p", { class: "muted", role: "status" }, "Hiding parts of the image…"));
    try {
      const path = `${model.page}/occlusion`;
      const found = await askJson(path, { method: "POST", body: image });
      box.replaceChildren(...shown(found, seen));
    } catch (error) {
      box.replaceChildren(explain(error, ask));
    }
    box.removeAttribute("aria-busy");
  };
  box.append(el("button", { type: "button", class: "small", click: ask }, "Why?"));
  return box;
}

function shown(found, seen) {
  const { predictions, images, seconds } = found;
  const { width, height } = seen;
  const canvas = el("canvas", { width, height, class: "heat", role: "img" });
  const scale = el("p", { class: "muted" });
  const draw = (index) => {
    const heat = heatOf(found, found.falls[index], width, height);
    const most = Math.max(...heat.map(Math.abs));
    canvas.getContext("2d").drawImage(seen, 0, 0);
    overlay(canvas, heat, most);
    const { label } = predictions[index];
    canvas.setAttribute("aria-label", `Parts of the image that ${label} depends on`);
    scale.textContent = `The strongest colour is a change of ${percent(most)}. Cost: ${whole(images)} images, ${duration(seconds)}.`;
  };
  const select = el(
    "select",
    { id: `why-${(number += 1)}`, change: ({ target }) => draw(Number(target.value)) },
    predictions.map(({ label }, index) => el("option", { value: index }, label)),
  );
  draw(0);
  return [
    el("div", { class: "row" }, labelled("Class", select)),
    canvas,
    el("p", { class: "muted" }, ABOUT),
    scale,
  ];
}

/** For each pixel, the mean fall of the probability over the patches that hid it. */
export function heatOf({ patch, rows, columns }, falls, width, height) {
  const sums = new Float64Array(width * height);
  const counts = new Uint16Array(width * height);
  rows.forEach((top, row) =>
    columns.forEach((left, column) => {
      for (let y = top; y < top + patch[0]; y += 1)
        for (let x = left; x < left + patch[1]; x += 1) {
          sums[y * width + x] += falls[row][column];
          counts[y * width + x] += 1;
        }
    }),
  );
  return sums.map((sum, index) => sum / (counts[index] || 1));
}

/** Red for a fall, blue for a rise, the stronger the more opaque. */
function overlay(canvas, heat, most) {
  const context = canvas.getContext("2d");
  const colours = new OffscreenCanvas(canvas.width, canvas.height);
  const image = new ImageData(canvas.width, canvas.height);
  heat.forEach((value, index) => {
    image.data.set(value > 0 ? [215, 40, 30] : [30, 90, 220], 4 * index);
    image.data[4 * index + 3] = most ? (190 * Math.abs(value)) / most : 0;
  });
  colours.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(colours, 0, 0);
}
