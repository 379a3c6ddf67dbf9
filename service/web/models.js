/** Models: every version of the repository, its state and why, and the layers of those that answer. */

import { addressOf } from "./address.js";
import { askJson } from "./api.js";
import { controlOf } from "./control.js";
import { copyButton, el } from "./dom.js";
import { explain } from "./errors.js";
import { duration, megabytes, operations, percent, provider, rounded, whole } from "./format.js";
import { layerTable } from "./layers.js";
import { attribution } from "./networks.js";
import { served } from "./served.js";

/** The predictions of a model for an image, by the kind of its scores. */
const SCORES = {
  logits: "one class",
  probabilities: "one class",
  independent: "any number of classes (multi-label)",
};

/** Above this number of versions, the facts are folded away, and a filter is offered. */
const FEW = 6;

/** Open the view. */
export async function open(root, signal, parameters) {
  const [index, { models, canControl }] = await Promise.all([
    askJson("v2/repository/index", { method: "POST" }),
    served(),
  ]);
  const find = ({ name, version }) =>
    models.find(({ manifest }) => manifest.name === name && String(manifest.version) === version);
  root.className = "models";
  if (!index.length)
    root.append(
      el(
        "p",
        { class: "card" },
        "The model repository is empty. Make a model with convoy export lenet5.",
      ),
    );
  const isLong = index.length > FEW;
  const again = async () => {
    if (signal.aborted) return;
    root.replaceChildren();
    await open(root, signal, new URLSearchParams());
  };
  const cards = index.map((entry) => modelCard(entry, find(entry), isLong, canControl && again));
  root.append(isLong ? filter(cards) : "", ...fallbacks(models), ...cards);
  const asked = addressOf("models", Object.fromEntries(parameters));
  const card = cards.find((one) => one.querySelector("h2 a").hash === asked);
  card?.scrollIntoView();
  card?.focus({ preventScroll: true });
}

/** A field that hides the cards without its text. */
function filter(cards) {
  const count = el("span", { class: "muted", role: "status" }, `${cards.length} versions`);
  const input = ({ target }) => {
    const text = target.value.trim().toLowerCase();
    for (const card of cards) card.hidden = !card.textContent.toLowerCase().includes(text);
    count.textContent = `${cards.filter((card) => !card.hidden).length} of ${cards.length} versions`;
  };
  return el(
    "div",
    { class: "row controls" },
    el("label", { for: "filter" }, "Filter"),
    el("input", { type: "search", id: "filter", placeholder: "name, state, provider", input }),
    count,
  );
}

/** Why models are not run as preferred: a line for each reason, with its models. */
function fallbacks(models) {
  const byReason = new Map();
  for (const { fallback_reason: reason, title } of models)
    if (reason) byReason.set(reason, [...(byReason.get(reason) ?? []), title]);
  return [...byReason].map(([reason, titles]) =>
    el(
      "p",
      { class: "warning" },
      `Not on the preferred device or provider: ${titles.join(", ")}: ${reason}`,
    ),
  );
}

/** `changed` is called after a request to load or unload; without it there are no buttons for that. */
function modelCard(entry, model, isLong, changed) {
  const { name, version, state, reason } = entry;
  const known = state || "NOT LOADED";
  return el(
    "article",
    {
      class: "card model",
      tabindex: "-1", // its address leads here
      "aria-label": version ? `${name} version ${version}` : name,
    },
    el(
      "header",
      {},
      el("h2", {}, el("a", { href: addressOf("models", { model: name, version }) }, name)),
      version ? el("span", { class: "muted" }, `version ${version}`) : null,
      el("span", { class: "badge", "data-state": known }, known.toLowerCase()),
    ),
    reason ? el("p", { class: "reason" }, reason) : null,
    model && (isLong ? el("details", {}, el("summary", {}, "Facts"), facts(model)) : facts(model)),
    changed ? controlOf(entry, changed) : null,
    model ? layers(model) : null,
  );
}

function facts(model) {
  const { manifest } = model;
  const { memory, input } = manifest;
  const rows = {
    architecture: manifest.architecture,
    precision: model.precision,
    provider: provider(model.provider),
    input: `${input.height} × ${input.width} × ${input.channels}`,
    classes: whole(model.class_count),
    predicts: SCORES[model.scores.kind],
    parameters: `${rounded(manifest.parameter_count / 1e6)} M`,
    "operations M": operations(manifest.macs),
    ...accuracy(manifest),
    ...(memory && {
      weights: megabytes(memory.weights_bytes),
      [`arena at batch ${memory.batch_size}`]: megabytes(memory.arena_peak_bytes),
    }),
    "load time": duration(model.load_s),
    "max batch size": whole(model.max_batch_size),
    "max queue size": whole(model.max_queue_size),
    created: manifest.created_at.slice(0, 10),
    artifact: el(
      "span",
      { class: "hash" },
      el("code", {}, manifest.model_sha256.slice(0, 10)),
      copyButton(() => manifest.model_sha256),
    ),
  };
  return el(
    "div",
    {},
    el(
      "dl",
      { class: "facts" },
      Object.entries(rows).map(([name, value]) =>
        el("div", {}, el("dt", {}, name), el("dd", {}, value)),
      ),
    ),
    el("p", { class: "muted" }, manifest.source),
  );
}

function accuracy({ evaluations: [first] }) {
  if (!first) return {};
  return { "top-1": `${percent(first.top1)}, ${attribution(first)}, ${first.data}` };
}

function layers(model) {
  const content = el("div", {}, el("p", { class: "muted" }, "loading"));
  const read = async () => {
    try {
      content.replaceChildren(layerTable(await askJson(`${model.page}/layers`)));
    } catch (error) {
      content.replaceChildren(explain(error, read));
    }
  };
  if (!model.has_layers)
    return el(
      "p",
      { class: "muted" },
      "This artifact has no layer table. Run ",
      el("code", {}, `convoy describe ${model.manifest.name} --save`),
      " to add it.",
    );
  const details = el("details", {}, el("summary", {}, "Layers"), content);
  details.addEventListener("toggle", () => details.open && read(), { once: true });
  return details;
}
