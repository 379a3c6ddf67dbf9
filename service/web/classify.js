/** One image to one model, through the protocol's own route. */

import { ask, askJson, Refused } from "./api.js";

export const TOP_K = 5;

/**
 * Classify an image.
 *
 * Returns the best classes, best first, as `{label, probability}`, and what the answer says of
 * itself: `parameters` (times in microseconds, batch size, provider, hash) and `version`.
 */
export async function classify(model, image, signal) {
  const head = new TextEncoder().encode(JSON.stringify(body(model, image.size + 4)));
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, image.size, true);
  const answer = await askJson(`${model.path}/infer`, {
    method: "POST",
    body: new Blob([head, length, image]),
    headers: { "inference-header-content-length": String(head.length) },
    signal,
  });
  const { data } = answer.outputs[0];
  return {
    classes:
      model.scores.kind === "logits" ? softmax(numbers(data), model.labels) : data.map(read),
    parameters: answer.parameters,
    version: answer.model_version,
  };
}

/** The image as the network sees it, as an `ImageBitmap`. */
export async function preview(model, image, signal) {
  const answer = await ask(`${model.page}/preview`, { method: "POST", body: image, signal });
  return createImageBitmap(await answer.blob());
}

/** The request's JSON; `bytes` are those of the element behind it. */
export function body(model, bytes) {
  return {
    inputs: [
      {
        name: model.manifest.input.name,
        datatype: "BYTES",
        shape: [1],
        parameters: { binary_data_size: bytes },
      },
    ],
    outputs: [output(model)],
    parameters: { timing: true },
  };
}

/** The output to ask for: its best classes, or all logits where there are no probabilities. */
export function output(model) {
  const { name, kind } = model.scores;
  return kind === "logits" ? { name } : { name, parameters: { classification: TOP_K } };
}

/** `0.998000:7:seven`, as the protocol writes a class. */
function read(text) {
  const [value, , ...label] = text.split(":");
  return { label: label.join(":"), probability: Number(value) };
}

/** Logits as numbers. NaN and infinities, which are texts in JSON, leave no best class. */
function numbers(data) {
  const logits = data.map(Number);
  if (Number.isFinite(Math.max(...logits))) return logits;
  throw new Refused(500, "SCORES_NOT_FINITE", "The scores for this image are NaN or infinite.");
}

function softmax(logits, labels) {
  const largest = Math.max(...logits);
  const powers = logits.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((total, value) => total + value, 0);
  return labels
    .map((label, index) => ({ label, probability: powers[index] / sum }))
    .sort((one, other) => other.probability - one.probability)
    .slice(0, TOP_K);
}
