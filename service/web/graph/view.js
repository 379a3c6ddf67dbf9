/** The graph of a network's layers, with the facts of the chosen layer. */

import { el } from "../dom.js";
import { whole } from "../format.js";
import { size, windowed } from "../sizes.js";
import { draw, sign } from "./drawing.js";
import { FORMS, formOf, isStrided, title } from "./forms.js";
import { layOut } from "./layout.js";
import { neighboursOf, readersOf, steps } from "./steps.js";
import { DrawingWindow } from "./window.js";

/** Return a button that is replaced by the graph when it is clicked. */
export function graphOf(description) {
  const box = el("div", { class: "graph" });
  const open = async () => {
    box.setAttribute("aria-busy", "true");
    box.replaceChildren(el("p", { class: "muted", role: "status" }, "Laying out the graph…"));
    const layout = await layOut(description.layers);
    box.removeAttribute("aria-busy");
    if (layout) show(box, description, layout);
    else box.replaceChildren(missing());
  };
  box.append(el("button", { type: "button", class: "small", click: open }, "Show the graph"));
  return box;
}

function missing() {
  return el(
    "p",
    { class: "problem" },
    "The library that lays out the graph is not installed. Run ",
    el("code", {}, "make page"),
    " and reload this page.",
  );
}

function show(box, { name, layers }, layout) {
  const { drawing, marks } = draw(layers, layout, name);
  const view = new DrawingWindow(drawing, layout);
  const facts = el("div", { class: "layer-facts", "aria-live": "polite" });
  const readers = readersOf(layers);
  const choose = (index) => facts.replaceChildren(factsOf(index, layers, readers));
  steps(drawing, marks, neighboursOf(layers, layout.nodes), choose);
  choose(0);
  box.replaceChildren(
    legend(layers),
    el(
      "p",
      { class: "muted" },
      "The data flows from top to bottom. Each box shows the output and the parameters. Arrow keys move between layers; +, − and 0 zoom, as does Ctrl with the wheel.",
    ),
    view.controls,
    view.place,
    facts,
  );
  view.open(layout.nodes[0].x);
}

/** The legend of the forms that occur. */
function legend(layers) {
  const forms = new Set(layers.map((layer) => formOf(layer, layers)));
  const entries = Object.keys(FORMS)
    .filter((form) => forms.has(form))
    .map((form) => el("li", {}, sign(form), FORMS[form]));
  if (layers.some(isStrided))
    entries.push(el("li", {}, sign("plain", true), "stride: the output is smaller"));
  return el("ul", { class: "legend", "aria-label": "Forms of layers" }, entries);
}

function factsOf(index, layers, readers) {
  const layer = layers[index];
  const names = (indices) => indices.map((one) => layers[one].name).join(", ");
  const rows = {
    layer: layer.name,
    operation: [title(layer, layers), ...layer.then].join(" + "),
    output: size(layer.output_shape),
    kernel: layer.window ? windowed(layer.window) : "",
    groups: layer.groups > 1 ? whole(layer.groups) : "",
    "receptive field": layer.receptive_field_px ? size(layer.receptive_field_px) : "all",
    parameters: layer.parameters ? `${layer.arithmetic} = ${whole(layer.parameters)}` : "",
    MACs: layer.is_counted ? whole(layer.macs) : "not counted",
    reads: names(layer.inputs),
    "read by": names(readers[index]),
  };
  return el(
    "dl",
    { class: "facts" },
    Object.entries(rows)
      .filter(([, value]) => value)
      .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}
