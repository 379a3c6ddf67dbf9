/** The forms of layers: each kind of convolution has its own outline and symbol. */

import { size } from "../sizes.js";

/** The forms with their names in the legend, in its order. */
export const FORMS = {
  plain: "convolution",
  pointwise: "1×1 convolution",
  depthwise: "depthwise convolution: each channel by itself",
  grouped: "grouped convolution",
  linear: "linear layer",
  pool: "pooling",
  join: "join of branches",
  other: "other layer",
};

const JOINS = new Set(["add", "concat", "mul"]);

/** Return the form of a layer; `layers` are all layers of the network. */
export function formOf(layer, layers) {
  if (layer.kind === "conv") return convolution(layer, layers);
  if (layer.kind === "linear") return "linear";
  if (layer.kind.endsWith("pool")) return "pool";
  return JOINS.has(layer.kind) ? "join" : "other";
}

function convolution(layer, layers) {
  const channels = layers[layer.inputs[0]]?.output_shape[0];
  if (layer.groups > 1) return layer.groups === channels ? "depthwise" : "grouped";
  return layer.window.kernel.every((length) => length === 1) ? "pointwise" : "plain";
}

/** Return whether a layer shrinks its input by a stride of more than one pixel. */
export const isStrided = ({ window }) =>
  Boolean(window) && window.stride.some((length) => length > 1);

/** The operation in a few words, such as `depthwise 3×3, stride 2`. */
export function title(layer, layers) {
  const { kind, window, groups } = layer;
  const kernel = window ? window.kernel.join("×") : "";
  const stride = isStrided(layer) ? `, stride ${size(window.stride)}` : "";
  const names = {
    plain: `${kernel} conv`,
    pointwise: `${kernel} conv`,
    depthwise: `depthwise ${kernel}`,
    grouped: `${kernel} conv, ${groups} groups`,
  };
  return `${names[formOf(layer, layers)] ?? `${kind} ${kernel}`.trim()}${stride}`;
}
