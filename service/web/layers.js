/** A layer table, as `convoy describe` prints it, with the graph of the layers on request. */

import { el } from "./dom.js";
import { whole } from "./format.js";
import { graphOf } from "./graph/view.js";
import { size, windowed } from "./sizes.js";
import { tableHead } from "./table.js";

const HEADS = ["layer", "kind", "output", "kernel", "field", "parameters", "MACs"];

/** The table with its totals. */
export function layerTable(description) {
  const totals = [
    `${description.convolutions} convolutions, ${description.linear_layers} linear; ${description.depth} on the longest path`,
    `${whole(description.parameters)} parameters${trained(description)}`,
    macs(description),
  ];
  return el(
    "div",
    {},
    el("p", {}, totals.join(" · ")),
    graphOf(description),
    el(
      "div",
      {
        class: "scroll",
        tabindex: "0",
        role: "region",
        "aria-label": `Layers of ${description.name}`,
      },
      el(
        "table",
        { class: "layers" },
        tableHead(HEADS),
        el("tbody", {}, description.layers.map(row)),
      ),
    ),
    el(
      "p",
      { class: "muted" },
      "kernel: size, stride s, padding p; field: receptive field of one output value, in pixels of the image",
    ),
  );
}

function macs({ macs, layers }) {
  if (macs !== null) return `${whole(macs)} MACs per image`;
  const kinds = layers.filter((layer) => layer.is_counted === false).map(({ kind }) => kind);
  return `MACs not counted: ${[...new Set(kinds)].join(", ")}`;
}

function trained({ parameters, trained_parameters: before }) {
  return before === null || before === parameters ? "" : ` (${whole(before)} as it was trained)`;
}

function row(layer) {
  const cells = [
    [layer.kind, ...layer.then].join(" + "),
    size(layer.output_shape),
    layer.window ? windowed(layer.window) : "",
    layer.receptive_field_px ? size(layer.receptive_field_px) : "all",
    layer.parameters ? `${layer.arithmetic} = ${whole(layer.parameters)}` : "",
    layer.is_counted === false ? "not counted" : layer.macs ? whole(layer.macs) : "",
  ];
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, layer.name),
    cells.map((cell) => el("td", {}, cell)),
  );
}
