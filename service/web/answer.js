/** One network's answer as a card: classes, what the network saw, where the time went. */

import { bars, copyButton, el } from "./dom.js";
import { explain } from "./errors.js";
import { duration, percent, provider } from "./format.js";
import { why } from "./why.js";

const MULTI_LABEL = "Several labels may apply. Each probability is independent of the others.";

const PHASES = ["decode", "queue", "inference", "respond"];

/**
 * An empty card: `wait` hides what it shows, until `show` fills it with an outcome of `classify` of
 * an image.
 *
 * An outcome that failed comes with a button that calls `again`.
 */
export function answerCard(model) {
  const content = el(
    "div",
    { class: "answer-content" },
    el("p", { class: "muted" }, "No image yet."),
  );
  const card = el(
    "article",
    {
      class: "card answer",
      "data-model": model.manifest.name,
      tabindex: "-1", // the overview leads here
      "aria-label": `Answer of ${model.title}`,
    },
    el("header", {}, el("h3", {}, model.title), subtitle(model.manifest)),
    content,
  );
  const wait = () => card.setAttribute("aria-busy", "true");
  const show = (outcome, image, again) => {
    content.replaceChildren(
      ...(outcome.error ? [explain(outcome.error, again)] : shown(model, image, outcome)),
    );
    card.removeAttribute("aria-busy");
  };
  return { model, card, wait, show };
}

function subtitle({ name, architecture }) {
  return architecture === name ? null : el("span", { class: "muted" }, architecture);
}

function shown(model, image, { answer, seen }) {
  return [
    el("div", { class: "answer-top" }, saw(seen), best(answer.predictions, model.title)),
    ...(model.scores.kind === "independent" ? [el("p", { class: "muted" }, MULTI_LABEL)] : []),
    why(model, image, seen),
    timing(answer.timing),
    el(
      "dl",
      { class: "facts" },
      fact("version", answer.model_version),
      fact("batch size", answer.timing.batch_size),
      fact("provider", provider(answer.provider)),
      fact("artifact", hash(answer.model_sha256)),
    ),
  ];
}

function saw(bitmap) {
  const { width, height } = bitmap;
  const canvas = el("canvas", {
    width,
    height,
    class: "seen",
    role: "img",
    "aria-label": "Input of the network",
  });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return el("figure", {}, canvas, el("figcaption", {}, `input: ${width} × ${height}`));
}

function best(predictions, title) {
  const rows = predictions.map(({ label, probability }) => ({
    name: label,
    share: probability,
    text: percent(probability),
  }));
  return bars(rows, `Best classes of ${title}`);
}

function timing(took) {
  const spent = PHASES.map((phase) => ({ phase, seconds: took[`${phase}_us`] / 1e6 }));
  const whole = spent.reduce((sum, { seconds }) => sum + seconds, 0) || 1;
  return el(
    "div",
    { class: "timing" },
    el(
      "div",
      { class: "timing-bar", "aria-hidden": "true" },
      spent.map(({ phase, seconds }) =>
        el("span", { class: phase, style: { "flex-grow": String(seconds / whole) } }),
      ),
    ),
    el(
      "ul",
      { class: "legend", "aria-label": "Where the time went" },
      spent.map(({ phase, seconds }) =>
        el(
          "li",
          {},
          el("span", { class: `key ${phase}` }),
          phase,
          " ",
          el("b", {}, duration(seconds)),
        ),
      ),
    ),
  );
}

const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

function hash(sha256) {
  return el(
    "span",
    { class: "hash" },
    el("code", { title: sha256 }, sha256.slice(0, 10)),
    copyButton(() => sha256),
  );
}
