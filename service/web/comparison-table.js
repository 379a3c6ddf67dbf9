/** The networks as a table that sorts; below it, where each number comes from. */

import { el } from "./dom.js";
import { operations, rounded } from "./format.js";
import { accuracyTitle, attribution, fastest, isMeasured } from "./networks.js";

/** The table, with its sources. */
export function comparisonTable(all, machine) {
  const sources = [];
  const columns = makeColumns(all, (source) => {
    if (!sources.includes(source)) sources.push(source);
    return sources.indexOf(source) + 1;
  });
  const rows = all.map((network) => Object.values(columns).map((column) => column(network)));
  const body = el("tbody", {}, rows.map(row));
  const heads = Object.keys(columns).map((name, index) => head(name, index, rows, body));
  return el(
    "section",
    { class: "card" },
    el("h2", {}, "All figures"),
    el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of the networks" },
      el("table", { class: "sortable" }, el("thead", {}, el("tr", {}, heads)), body),
    ),
    el(
      "ol",
      { class: "sources", "aria-label": "Sources" },
      sources.map((source) => el("li", {}, source)),
    ),
    machine
      ? null
      : el(
          "p",
          { class: "muted" },
          "For times and memory at every batch size, run ",
          el("code", {}, "convoy compare --json comparison.json"),
          ", then ",
          el("code", {}, "convoy serve --comparison-file comparison.json"),
          ".",
        ),
  );
}

/** Return the columns by their heads: functions that return the cell of a network, or nothing. */
function makeColumns(all, number) {
  const sizes = [...new Set(all.flatMap(({ batches }) => batches.map(({ size }) => size)))].sort(
    (one, other) => one - other,
  );
  const of = (value, text, source) => ({
    value,
    text: text ?? rounded(value),
    number: source && number(source),
  });
  const at = (network, size, key) =>
    network.batches.find((batch) => batch.size === size && batch[key]);
  const ms = (batch) => batch && of(batch.ms, rounded(batch.ms), batch.source);
  const mb = (batch) => batch && of(batch.bytes, rounded(batch.bytes / 1e6), batch.source);
  const batches = sizes.length
    ? {
        [`ms/image, batch ${sizes[0]}`]: (network) => ms(at(network, sizes[0], "ms")),
        "ms/image, best": (network) => ms(fastest(network)),
        [`MB, batch ${sizes[0]}`]: (network) => mb(at(network, sizes[0], "bytes")),
        [`MB, batch ${sizes.at(-1)}`]: (network) => mb(at(network, sizes.at(-1), "bytes")),
      }
    : {};
  return {
    model: ({ name }) => ({ value: name, text: name }),
    px: ({ input_px: px }) => of(px),
    ...accuracyColumns(all, of),
    "parameters M": ({ parameters }) => of(parameters, rounded(parameters / 1e6)),
    "operations M": ({ macs }) => of(macs ?? undefined, operations(macs)),
    ...batches,
  };
}

/** A column for each set of images: only what was measured on the same ones is in one column. */
function accuracyColumns(all, of) {
  const cell = (top1, source, published) => ({
    ...of(top1, (100 * top1).toFixed(1), source),
    published,
  });
  const columns = {};
  for (const evaluation of all.flatMap(({ evaluations }) => evaluations)) {
    const title = accuracyTitle(evaluation);
    const measured = isMeasured(evaluation);
    columns[`top-1 % ${title}`] = ({ evaluations }) => {
      const found = evaluations.find((one) => accuracyTitle(one) === title);
      if (!found) return null;
      const source = measured
        ? `${title}, when the artifact was made or by convoy evaluate`
        : `${attribution(found)}, ${found.data} (these weights)`;
      return cell(found.top1, source, !measured);
    };
  }
  if (all.some(({ published }) => published))
    columns["top-1 % of other weights"] = ({ published }) =>
      published &&
      cell(published.top1, `${published.source}, on ImageNet, of other weights`, true);
  return columns;
}

function row(cells) {
  return el(
    "tr",
    {},
    cells.map((cell, index) =>
      el(
        index ? "td" : "th",
        { scope: index ? null : "row", class: cell?.published ? "published" : null },
        cell ? cell.text : "",
        // The style sheet writes the mark, so that it is not copied with the number.
        cell?.number ? el("sup", { "data-number": String(cell.number) }) : null,
      ),
    ),
  );
}

function head(name, index, rows, body) {
  const sort = ({ currentTarget }) => {
    const th = currentTarget.closest("th");
    const direction = th.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
    for (const other of th.parentElement.children) other.removeAttribute("aria-sort");
    th.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const sorted = [...rows].sort(
      (one, other) => sign * order(one[index]?.value, other[index]?.value, sign),
    );
    body.replaceChildren(...sorted.map(row));
  };
  return el("th", { scope: "col" }, el("button", { type: "button", click: sort }, name));
}

/** Compare two values; missing ones come last in either direction. */
function order(one, other, sign) {
  if (one === undefined || other === undefined)
    return sign * ((one === undefined) - (other === undefined));
  return typeof one === "string" ? one.localeCompare(other) : one - other;
}
