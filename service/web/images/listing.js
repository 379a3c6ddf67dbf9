/** The images as a gallery or as a table, in either case with only those in view in the document. */

import { openInTry } from "../chosen.js";
import { el } from "../dom.js";
import { percent } from "../format.js";
import { tableHead } from "../table.js";
import { best, isRight } from "./rows.js";
import { thumbnail } from "./thumbnails.js";
import { VirtualList } from "./virtual.js";

const TILE_PX = 150;
const TILE_ROW_PX = 176;
const ROW_PX = 56;

/** A list of this layout, for answers of one model or two. */
export function listing(layout, { hasClasses, titles }) {
  return layout === "table" ? table(hasClasses, titles) : gallery();
}

function viewport(content) {
  return el(
    "div",
    { class: "viewport", tabindex: "0", role: "region", "aria-label": "Images" },
    content,
  );
}

const px = (pixels) => `${pixels}px`;

function gallery() {
  const list = el("ul", { class: "gallery" });
  const view = viewport(list);
  let total = 0;
  const virtual = new VirtualList(view, list, {
    rowPx: TILE_ROW_PX,
    columns: (width) => Math.max(1, Math.floor(width / TILE_PX)),
    make: tile,
    update: (node, item, index) => {
      node.setAttribute("aria-posinset", index + 1);
      node.setAttribute("aria-setsize", total);
      tell(node, item);
    },
    space: (above, below, count) => {
      total = count;
      list.style.setProperty("padding-top", px(above));
      list.style.setProperty("padding-bottom", px(below));
    },
  });
  return { view, show: (items) => virtual.show(items) };
}

function tile(item) {
  return el(
    "li",
    {},
    el(
      "button",
      { type: "button", class: "tile", click: () => openInTry(item.file, item.file.name) },
      thumbnail(item.file),
      el("span", { class: "tile-label" }),
      el("span", { class: "tile-note" }),
    ),
  );
}

function tell(node, item) {
  const [, label, note] = node.firstChild.children;
  const found = best(item.outcomes?.[0]);
  const mark = verdict(item);
  node.dataset.verdict = mark;
  label.textContent = found ? found.label : item.outcomes ? "failed" : "…";
  note.textContent = [found && percent(found.probability), VERDICTS[mark]]
    .filter(Boolean)
    .join(" · ");
  node.firstChild.title = [item.path, problem(item)].filter(Boolean).join("\n");
}

/** The verdicts in words, as not everybody can tell the colours apart. */
const VERDICTS = { right: "right", wrong: "wrong", none: "" };

function verdict(item) {
  const right = isRight(item);
  return right === null ? "none" : right ? "right" : "wrong";
}

const problem = ({ outcomes }) => outcomes?.find(({ error }) => error)?.error.message;

function table(hasClasses, titles) {
  const answers = titles.flatMap((title, index) =>
    index ? [title, "probability"] : ["prediction", "probability", "margin"],
  );
  const heads = ["image", ...(hasClasses ? ["class"] : []), ...answers];
  const body = el("tbody");
  const [above, below] = [spacer(heads.length), spacer(heads.length)];
  const whole = el(
    "table",
    { class: "rows" },
    tableHead(heads),
    el("tbody", { "aria-hidden": "true" }, above),
    body,
    el("tbody", { "aria-hidden": "true" }, below),
  );
  const view = viewport(whole);
  const virtual = new VirtualList(view, body, {
    rowPx: ROW_PX,
    make: (item) => row(item, heads.length),
    update: (node, item, index) => {
      node.setAttribute("aria-rowindex", index + 2); // after the heads
      fill(node, item, hasClasses, titles.length);
    },
    space: (pixelsAbove, pixelsBelow, count) => {
      above.style.setProperty("height", px(pixelsAbove));
      below.style.setProperty("height", px(pixelsBelow));
      whole.setAttribute("aria-rowcount", count + 1);
    },
  });
  return { view, show: (items) => virtual.show(items) };
}

const spacer = (columns) => el("tr", {}, el("td", { colspan: columns, class: "spacer" }));

function row(item, columns) {
  const name = el(
    "button",
    { type: "button", class: "file", click: () => openInTry(item.file, item.file.name) },
    thumbnail(item.file),
    el("span", {}, item.path),
  );
  name.title = item.path;
  const cells = Array.from({ length: columns - 1 }, () => el("td"));
  return el("tr", {}, el("th", { scope: "row" }, name), cells);
}

function fill(node, item, hasClasses, models) {
  const { outcomes } = item;
  const texts = hasClasses ? [item.truth ?? ""] : [];
  for (let index = 0; index < models; index += 1) {
    const found = best(outcomes?.[index]);
    const error = outcomes?.[index]?.error;
    texts.push(found?.label ?? (error ? `failed: ${error.message}` : ""));
    texts.push(found ? percent(found.probability, 2) : "");
    if (!index) texts.push(found ? percent(found.margin, 2) : "");
  }
  node.dataset.verdict = verdict(item);
  texts.forEach((text, index) => {
    const cell = node.children[index + 1];
    if (cell.textContent !== text) cell.textContent = text;
    cell.title = text;
  });
}
