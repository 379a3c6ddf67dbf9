/** Models: every version of the repository, its state and why, and the layers of those that answer. */

import { askJson } from "./api.js";
import { copyButton, el } from "./dom.js";
import { explain } from "./errors.js";
import { duration, megabytes, operations, percent, provider, rounded, whole } from "./format.js";
import { layerTable } from "./layers.js";
import { attribution } from "./networks.js";
import { served } from "./served.js";

/** What a model tells of an image, by the kind of its scores. */
const SCORES = {
  logits: "one class",
  probabilities: "one class",
  independent: "any number of classes (multi-label)",
};

/** Open the view. */
export async function open(root) {
  const [index, { models }] = await Promise.all([
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
        "The repository is empty: make a model with convoy export lenet5.",
      ),
    );
  root.append(...index.map((entry) => modelCard(entry, find(entry))));
}

function modelCard({ name, version, state, reason }, model) {
  const known = state || "NOT LOADED";
  return el(
    "article",
    { class: "card model", "aria-label": version ? `${name} version ${version}` : name },
    el(
      "header",
      {},
      el("h2", {}, name),
      version ? el("span", { class: "muted" }, `version ${version}`) : null,
      el("span", { class: "badge", "data-state": known }, known.toLowerCase()),
    ),
    reason ? el("p", { class: "reason" }, reason) : null,
    model ? facts(model) : null,
    model ? layers(model) : null,
  );
}

function facts(model) {
  const { manifest } = model;
  const { memory, input } = manifest;
  const rows = {
    architecture: manifest.architecture,
    precision: manifest.precision,
    provider: provider(model.provider),
    input: `${input.height} × ${input.width} × ${input.channels}`,
    classes: whole(model.class_count),
    tells: SCORES[model.scores.kind],
    parameters: `${rounded(manifest.parameter_count / 1e6)} M`,
    "operations M": operations(manifest.macs),
    ...accuracy(manifest),
    ...(memory && {
      weights: megabytes(memory.weights_bytes),
      [`arena at batch ${memory.batch_size}`]: megabytes(memory.arena_peak_bytes),
    }),
    "loaded in": duration(model.load_s),
    "batch at most": whole(model.max_batch_size),
    "queue at most": whole(model.max_queue_size),
    made: manifest.created_at.slice(0, 10),
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
    model.fallback_reason
      ? el("p", { class: "warning" }, `Not on the preferred device: ${model.fallback_reason}`)
      : null,
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
      "The artifact was made before artifacts told their layers: ",
      el("code", {}, `convoy describe ${model.manifest.name} --save`),
      " writes them.",
    );
  const details = el("details", {}, el("summary", {}, "Layers"), content);
  details.addEventListener("toggle", () => details.open && read(), { once: true });
  return details;
}
