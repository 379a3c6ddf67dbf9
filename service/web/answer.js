/** One network's answer as a card: classes, what the network saw, where the time went. */

import { classify, preview } from "./classify.js";
import { bars, copyButton, el } from "./dom.js";
import { explain } from "./errors.js";
import { duration, percent, provider } from "./format.js";

const MULTI_LABEL = "Several labels may apply: each probability stands by itself.";

const PHASES = ["decode", "queue", "inference", "respond"];

/**
 * An empty card; `ask` fills it for an image.
 *
 * `ask` returns `{model, classes}`, or `{model, error}`.
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
      "aria-label": `Answer of ${model.title}`,
    },
    el("header", {}, el("h3", {}, model.title), subtitle(model.manifest)),
    content,
  );
  return { card, ask: (image, signal) => ask(model, image, card, content, signal) };
}

function subtitle({ name, architecture }) {
  return architecture === name ? null : el("span", { class: "muted" }, architecture);
}

async function ask(model, image, card, content, signal) {
  card.setAttribute("aria-busy", "true");
  try {
    const [answer, seen] = await Promise.all([
      classify(model, image, signal),
      preview(model, image, signal),
    ]);
    content.replaceChildren(...shown(model, answer, seen));
    return { model, classes: answer.classes };
  } catch (error) {
    if (!signal.aborted)
      content.replaceChildren(explain(error, () => ask(model, image, card, content, signal)));
    return { model, error };
  } finally {
    // The next image is asked about already, if this one was aborted.
    if (!signal.aborted) card.removeAttribute("aria-busy");
  }
}

function shown(model, { classes, parameters, version }, seen) {
  return [
    el("div", { class: "answer-top" }, saw(seen), best(classes, model.title)),
    ...(model.scores.kind === "independent" ? [el("p", { class: "muted" }, MULTI_LABEL)] : []),
    timing(parameters),
    el(
      "dl",
      { class: "facts" },
      fact("version", version),
      fact("batch size", parameters.batch_size),
      fact("provider", provider(parameters.provider)),
      fact("artifact", hash(parameters.model_sha256)),
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
    "aria-label": "What the network saw",
  });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return el("figure", {}, canvas, el("figcaption", {}, `saw ${width} × ${height}`));
}

function best(classes, title) {
  const rows = classes.map(({ label, probability }) => ({
    name: label,
    share: probability,
    text: percent(probability),
  }));
  return bars(rows, `Best classes of ${title}`);
}

function timing(parameters) {
  const spent = PHASES.map((phase) => ({ phase, seconds: parameters[`${phase}_us`] / 1e6 }));
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
