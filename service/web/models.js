/** Models: every version of the repository, its state and why, and the layers of those that answer. */

import { addressOf, unknown } from "./address.js";
import { askJson } from "./api.js";
import { controlOf } from "./control.js";
import { copyButton, el } from "./dom.js";
import { explain } from "./errors.js";
import { duration, megabytes, operations, percent, provider, rounded, whole } from "./format.js";
import { layerTable } from "./layers.js";
import { attribution } from "./networks.js";
import { follow, served } from "./served.js";

/** The predictions of a model for an image, by the kind of its scores. */
const SCORES = {
  logits: "one class",
  probabilities: "one class",
  independent: "any number of classes (multi-label)",
};

/** Above this number of versions, the facts are folded away, and a filter is offered. */
const FEW = 6;

const EMPTY = "The model repository is empty. Make a model with convoy export lenet5.";

/** Open the view; it follows what the server loads until *signal* is aborted. */
export async function open(root, signal, parameters) {
  root.className = "models";
  const view = new Models(root, signal, parameters);
  await follow(signal, repository, JSON.stringify, (found) => view.show(found));
  const card = view.asked();
  card?.scrollIntoView();
  card?.focus({ preventScroll: true });
}

/** The versions of the repository in any state, and the models that answer. */
async function repository() {
  const [index, found] = await Promise.all([
    askJson("v2/repository/index", { method: "POST" }),
    served(),
  ]);
  return { index, ...found };
}

class Models {
  #known = new Map();

  constructor(root, signal, parameters) {
    Object.assign(this, { root, signal, parameters, cards: [] });
    const [name, version] = [parameters.get("model"), parameters.get("version")];
    this.unknown = unknown(
      `The repository has no ${version ? `version ${version} of a ` : ""}model named ${name}.`,
    );
    this.text = el("input", {
      type: "search",
      id: "filter",
      placeholder: "name, state, provider",
      input: () => this.#filter(),
    });
    this.count = el("span", { class: "muted", role: "status" });
    this.controls = el(
      "div",
      { class: "row controls" },
      el("label", { for: "filter" }, "Filter"),
      this.text,
      this.count,
    );
  }

  /** Show the versions of the repository, of which the server says this. */
  show({ index, models, canControl }) {
    if (this.signal.aborted) return;
    const isLong = index.length > FEW;
    const focused = this.cards.find((card) => card.contains(document.activeElement))?.ariaLabel;
    const names = new Set(models.map(({ manifest }) => manifest.name));
    this.cards = index.map((entry) => {
      const control = canControl && { isServed: names.has(entry.name) };
      return this.#card(entry, modelOf(entry, models), isLong, control);
    });
    this.controls.hidden = !isLong;
    this.#filter();
    this.unknown.hidden = !this.parameters.get("model") || Boolean(this.asked());
    const above = [this.unknown, this.controls].filter(({ hidden }) => !hidden);
    const nothing = index.length ? [] : [el("p", { class: "card" }, EMPTY)];
    arrange(this.root, [...above, ...nothing, ...fallbacks(models), ...this.cards]);
    this.#keepFocus(focused);
  }

  /** Focus the card of this name if it has taken the place of one that had the keyboard. */
  #keepFocus(name) {
    const card = name && this.cards.find(({ ariaLabel }) => ariaLabel === name);
    if (card && !card.contains(document.activeElement)) card.focus({ preventScroll: true });
  }

  /** Return the card that the address names; undefined without one. */
  asked() {
    const asked = addressOf("models", Object.fromEntries(this.parameters));
    return this.cards.find((card) => card.querySelector("h2 a").hash === asked);
  }

  /** The card of a version: the one that is shown, with what is open in it, unless it has changed. */
  #card(entry, model, isLong, control) {
    const key = `${entry.name} ${entry.version}`;
    const state = JSON.stringify([entry, model, isLong, control]);
    if (this.#known.get(key)?.state !== state) {
      const again = async () => this.show(await repository());
      const buttons = control && controlOf(entry, control.isServed, again);
      const card = modelCard(entry, model, isLong, buttons);
      this.#known.set(key, { state, card });
    }
    return this.#known.get(key).card;
  }

  /** Hide the cards without the text of the filter. */
  #filter() {
    const text = this.controls.hidden ? "" : this.text.value.trim().toLowerCase();
    for (const card of this.cards) card.hidden = !card.textContent.toLowerCase().includes(text);
    const shown = this.cards.filter((card) => !card.hidden).length;
    const { length } = this.cards;
    this.count.textContent = shown < length ? `${shown} of ${length} versions` : `${length} versions`;
  }
}

const modelOf = ({ name, version }, models) =>
  models.find(({ manifest }) => manifest.name === name && String(manifest.version) === version);

/** Make these nodes the children of `root`; those in their places stay, with the keyboard in them. */
function arrange(root, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...root.children]) if (!wanted.has(child)) child.remove();
  let place = root.firstChild;
  for (const node of nodes)
    if (node === place) place = place.nextSibling;
    else root.insertBefore(node, place);
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

/** The card of a version, with `buttons` that control it, if there are some. */
function modelCard(entry, model, isLong, buttons) {
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
    buttons || null,
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
