/** The layers of a network as SVG. */

import { svg } from "../dom.js";
import { size } from "../sizes.js";
import { formOf, isStrided, title } from "./forms.js";
import { BOX } from "./layout.js";

const LETTERS = 23;

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

/** Draw layers at the places of `layOut`: `{drawing, marks}`, with a mark for each layer. */
export function draw(layers, { width, height, nodes, edges }, name) {
  const marks = layers.map((layer, index) => mark(layer, layers, nodes[index]));
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Layers of ${name}` },
    svg(
      "g",
      { class: "edges", "aria-hidden": "true" },
      edges.map(({ points }) => svg("path", { d: line(points) })),
    ),
    marks,
  );
  return { drawing, marks };
}

/** Describe a layer in words, for screen readers. */
export function words(layer, layers) {
  const then = layer.then.length ? `, then ${layer.then.join(", ")}` : "";
  const parameters = layer.parameters ? `, ${compact.format(layer.parameters)} parameters` : "";
  return `${layer.name}: ${title(layer, layers)}${then}, output ${size(layer.output_shape)}${parameters}`;
}

/** Draw the symbol of a form for the legend. */
export function sign(form, strided = false) {
  return svg(
    "svg",
    { class: "sign", viewBox: "-24 -13 48 26", width: 48, height: 26, "aria-hidden": "true" },
    svg(
      "g",
      { class: "layer", "data-form": form },
      outline(form, strided, 44, 22),
      glyph(form, 0),
    ),
  );
}

function mark(layer, layers, { x, y }) {
  const form = formOf(layer, layers);
  const told = size(layer.output_shape);
  const parameters = layer.parameters ? ` · ${compact.format(layer.parameters)}` : "";
  return svg(
    "g",
    {
      class: "layer",
      "data-form": form,
      "data-strided": isStrided(layer),
      transform: `translate(${x} ${y})`,
      tabindex: "-1",
      role: "img",
      "aria-label": words(layer, layers),
    },
    outline(form, isStrided(layer), BOX.width, BOX.height),
    glyph(form, 18 - BOX.width / 2),
    svg("text", { x: 12, y: -4 }, shortened(title(layer, layers))),
    svg("text", { x: 12, y: 13, class: "small" }, `${told}${parameters}`),
  );
}

/** Draw the outline of a box: a trapezoid if the output is smaller; its corners suit the form. */
function outline(form, strided, width, height) {
  const [x, y] = [width / 2, height / 2];
  const cut = Math.min(12, width / 6);
  if (strided)
    return svg("path", {
      class: "outline",
      d: `M${-x} ${-y}H${x}L${x - cut} ${y}H${cut - x}Z`,
    });
  const rx = { pointwise: y, join: y, pool: y / 2, linear: 0 }[form] ?? 5;
  return svg("rect", { class: "outline", x: -x, y: -y, width, height, rx });
}

/** Draw the inputs of one output value: a patch, a point, separate channels, or everything. */
function glyph(form, x) {
  const bar = (left, width) => svg("rect", { x: x + left, y: -7, width, height: 14 });
  const shapes = {
    plain: () => [svg("rect", { x: x - 7, y: -7, width: 14, height: 14 })],
    pointwise: () => [svg("circle", { cx: x, cy: 0, r: 3.5 })],
    depthwise: () => [bar(-8, 2), bar(-3, 2), bar(2, 2), bar(7, 2)],
    grouped: () => [bar(-8, 7), bar(2, 7)],
    linear: () => [svg("path", { class: "lines", d: `M${x - 8} -7L${x + 8} 7M${x - 8} 7L${x + 8} -7M${x} -7V7` })],
    pool: () => [svg("path", { d: `M${x - 8} -7H${x + 8}L${x} 7Z` })],
    join: () => [svg("path", { class: "lines", d: `M${x - 7} 0H${x + 7}M${x} -7V7` })],
    other: () => [],
  };
  return svg("g", { class: "glyph" }, shapes[form]());
}

const line = (points) => points.map(({ x, y }, index) => `${index ? "L" : "M"}${x} ${y}`).join("");

const shortened = (text) => (text.length > LETTERS ? `${text.slice(0, LETTERS - 1)}…` : text);
