/** Tables: the head above the rows. */

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

/** A row whose head leads somewhere; its other cells are empty. */
export function linkRow(name, click, count) {
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, el("button", { type: "button", class: "link", click }, name)),
    cells(count),
  );
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
