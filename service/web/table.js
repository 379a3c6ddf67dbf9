/** Tables with a head above their rows. */

import { el } from "./dom.js";

/** A head with a column for each name. */
export function tableHead(names) {
  return el("thead", {}, headRow(names));
}

/** A row of a head; a name may be an element. */
export function headRow(names) {
  return el(
    "tr",
    {},
    names.map((name) => el("th", { scope: "col" }, name)),
  );
}

/** A row whose head is a link; its other cells are empty. */
export function linkRow(name, click, count) {
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, el("button", { type: "button", class: "link", click }, name)),
    cells(count),
  );
}

/** A table that scrolls sideways where it is too wide; `label` names it for screen readers. */
export function scrollTable(label, heads, rows) {
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    el("table", {}, tableHead(heads), el("tbody", {}, rows)),
  );
}

/** A row with texts after its head. */
export function textRow(name, texts) {
  const row = plainRow(name, texts.length);
  setTexts(row, texts);
  return row;
}

/** A row of that many empty cells after its head. */
export function plainRow(name, count) {
  return el("tr", {}, el("th", { scope: "row" }, name), cells(count));
}

/** Write texts into the cells after the head of a row. */
export function setTexts(row, texts) {
  texts.forEach((text, index) => {
    const cell = row.children[index + 1];
    if (cell.textContent !== text) cell.textContent = text;
  });
}

const cells = (count) => Array.from({ length: count }, () => el("td"));
