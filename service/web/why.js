/** Explanations of an answer: the parts of the image that a class depends on. */

import { sendImage } from "./classify.js";
import { el, labelled } from "./dom.js";
import { explain } from "./errors.js";
import { duration, percent, rounded, whole } from "./format.js";
import { heatOf, overlay, stretched } from "./heat.js";

/**
 * The methods of explanation. `heat` returns a value for each pixel and the class at an index, and
 * `told` describes the strongest value and the cost.
 */
const CLASS_MAPS = {
  route: "class-maps",
  busy: "Computing the class activation maps…",
  about:
    "Class activation map. Red: this part raises the score of the class. Blue: this part lowers it.",
  heat: ({ maps }, index, width, height) => stretched(maps[index], width, height),
  told: ({ biases, scores, images, seconds }, index, most) =>
    `The strongest colour is a share of ${rounded(most)} in the score. The mean of the map, ${rounded(scores[index] - biases[index])}, and the bias, ${rounded(biases[index])}, add up to the score, ${rounded(scores[index])}. Cost: ${whole(images)} images and opening the network once more, ${duration(seconds)}.`,
};

const OCCLUSION = {
  route: "occlusion",
  busy: "Hiding parts of the image…",
  about:
    "Red: without this part, the class is less probable. Blue: without it, the class is more probable.",
  heat: (found, index, width, height) => heatOf(found, found.falls[index], width, height),
  told: ({ images, seconds }, index, most) =>
    `The strongest colour is a change of ${percent(most)}. Cost: ${whole(images)} images, ${duration(seconds)}.`,
};

let number = 0;

/** A button, and below it what it finds about `image` and its picture `seen`. */
export function why(model, image, seen) {
  const box = el("div", { class: "why" });
  const ask = async (way) => {
    box.setAttribute("aria-busy", "true");
    box.replaceChildren(el("p", { class: "muted", role: "status" }, way.busy));
    try {
      const found = await sendImage(`${model.page}/${way.route}`, image);
      box.replaceChildren(...shown(way, found, seen), other(model, way, ask));
    } catch (error) {
      box.replaceChildren(explain(error, () => ask(way)), other(model, way, ask));
    }
    box.removeAttribute("aria-busy");
  };
  const way = model.no_class_maps ? OCCLUSION : CLASS_MAPS;
  box.append(button("Why?", () => ask(way)));
  return box;
}

/** A button for the other method, or the reason why there is none. */
function other(model, way, ask) {
  if (model.no_class_maps)
    return el(
      "p",
      { class: "muted" },
      `This network has no class activation maps: ${model.no_class_maps}.`,
    );
  return way === CLASS_MAPS
    ? button("Hide parts instead (about 100 images)", () => ask(OCCLUSION))
    : button("Show the class activation map", () => ask(CLASS_MAPS));
}

const button = (text, click) => el("button", { type: "button", class: "small", click }, text);

function shown(way, found, seen) {
  const { predictions } = found;
  const { width, height } = seen;
  const canvas = el("canvas", { width, height, class: "heat", role: "img" });
  const told = el("p", { class: "muted" });
  const draw = (index) => {
    const heat = way.heat(found, index, width, height);
    const most = heat.reduce((before, value) => Math.max(before, Math.abs(value)), 0);
    overlay(canvas, seen, heat, most);
    const { label } = predictions[index];
    canvas.setAttribute("aria-label", `Parts of the image that ${label} depends on`);
    told.textContent = way.told(found, index, most);
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
    el("p", { class: "muted" }, way.about),
    told,
  ];
}
