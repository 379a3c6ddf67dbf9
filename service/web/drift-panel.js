/** Drift: the difference between recent images and answers and the baseline of a model. */

import { el, hiddenCard } from "./dom.js";
import { whole } from "./format.js";
import { plainRow, scrollTable } from "./table.js";

const INDEX = "convoy_drift_psi";
const IMAGES = "convoy_drift_images_total";

/** Names of the values of the index: the first whose bound is above the value applies. */
const LEVELS = [
  [0.1, "none"],
  [0.2, "some"],
  [Infinity, "large"],
];

const ABOUT =
  "The population stability index compares the images of a window with the model's baseline: below 0.1 no change, above 0.2 a large one.";

/** A card that is hidden unless the server measures drift. */
export class DriftPanel {
  constructor() {
    this.content = el("div");
    this.card = hiddenCard("drift", "Drift", el("p", { class: "muted" }, ABOUT), this.content);
  }

  /** Show the drift of a model, as the metrics state it. */
  draw(metrics, model) {
    this.card.hidden = !metrics.has(INDEX);
    const of = (name) => (metrics.get(name) ?? []).filter(({ labels }) => labels.model === model);
    const versions = countsByVersion(of(IMAGES));
    this.content.replaceChildren(
      ...[...versions].map(([version, count]) =>
        ofVersion(
          version,
          count,
          of(INDEX).filter(({ labels }) => labels.version === version),
        ),
      ),
    );
    if (!versions.size)
      this.content.append(
        el(
          "p",
          {},
          `No images of ${model} have been counted yet. A version without a baseline counts none; create one with `,
          el("code", {}, `convoy baseline ${model} --data DATA`),
          ".",
        ),
      );
  }
}

/** Images counted since each version was loaded: the largest count of any signal. */
function countsByVersion(samples) {
  const counts = new Map();
  for (const { labels, value } of samples) {
    const signals = counts.get(labels.version) ?? new Map();
    signals.set(labels.signal, (signals.get(labels.signal) ?? 0) + value);
    counts.set(labels.version, signals);
  }
  return new Map([...counts].map(([version, signals]) => [version, Math.max(...signals.values())]));
}

function ofVersion(version, count, samples) {
  const told = `Version ${version}: ${whole(count)} images counted since it was loaded.`;
  if (!samples.length)
    return el("p", {}, told, " A window needs 500 images before it has an index.");
  const windows = [...new Set(samples.map(({ labels }) => labels.window))];
  const signals = [...new Set(samples.map(({ labels }) => labels.signal))];
  const rows = signals.map((signal) => {
    const row = plainRow(signal.replaceAll("_", " "), windows.length);
    windows.forEach((window, index) => {
      const found = samples.find(
        ({ labels }) => labels.signal === signal && labels.window === window,
      );
      fill(row.children[index + 1], found?.value);
    });
    return row;
  });
  const heads = ["signal", ...windows.map((window) => `last ${window}`)];
  return el(
    "div",
    {},
    el("p", {}, told),
    scrollTable(`Drift of version ${version}`, heads, rows),
  );
}

function fill(cell, value) {
  if (value === undefined) cell.textContent = "fewer than 500 images";
  else {
    const [, level] = LEVELS.find(([bound]) => value < bound);
    cell.dataset.level = level;
    cell.textContent = `${value.toFixed(2)} ${level}`;
  }
}
