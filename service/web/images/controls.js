/** Controls that filter and sort the images, and choose their layout. */

import { el, labelled } from "../dom.js";
import { whole } from "../format.js";
import { collection } from "./collection.js";
import { labelOf, NO_FILTER, ORDERS, STATES } from "./rows.js";

/** The controls; `changed` is called after each change. `draw` brings them up to date. */
export class Controls {
  constructor(changed) {
    this.changed = changed;
    this.label = this.#select("images-label", "label", []);
    this.state = this.#select("images-state", "state", []);
    this.order = el(
      "select",
      { id: "images-order", change: ({ target }) => this.#set("order", target.value) },
      Object.entries(ORDERS).map(([value, { title }]) => el("option", { value }, title)),
    );
    this.text = el("input", {
      type: "search",
      id: "images-text",
      placeholder: "file name",
      input: ({ target }) => this.#filter("text", target.value),
    });
    this.bounds = ["from", "to"].map((bound) => this.#bound(bound));
    this.count = el("span", { class: "muted", role: "status" });
    this.cell = el("button", {
      type: "button",
      class: "small",
      click: () => this.#filter("cell", null),
    });
    this.layouts = ["gallery", "table"].map((name) =>
      el(
        "button",
        { type: "button", click: () => this.#set("layout", name) },
        `${name[0].toUpperCase()}${name.slice(1)}`,
      ),
    );
    this.row = el(
      "div",
      { class: "row controls" },
      el("div", { class: "segments", role: "group", "aria-label": "Layout" }, this.layouts),
      labelled("Find", this.text),
      labelled("Prediction", this.label),
      labelled("Show", this.state),
      el(
        "fieldset",
        { class: "confidence" },
        el("legend", {}, "Confidence, %"),
        this.bounds[0],
        "–",
        this.bounds[1],
      ),
      labelled("Sort by", this.order),
      this.cell,
      el("button", { type: "button", class: "small", click: () => this.#clear() }, "Show all"),
      this.count,
    );
  }

  #select(id, key) {
    return el("select", { id, change: ({ target }) => this.#filter(key, target.value) });
  }

  #bound(bound) {
    return el("input", {
      ...{ type: "number", min: "0", max: "100", step: "any", "aria-label": `Confidence ${bound}` },
      change: ({ target }) => {
        const { valueAsNumber: typed } = target;
        const value = Number.isNaN(typed) ? NO_FILTER[bound] : Math.min(100, Math.max(0, typed));
        target.value = value;
        this.#filter(bound, value);
      },
    });
  }

  #filter(key, value) {
    collection.filter[key] = value;
    this.changed();
  }

  #set(key, value) {
    collection[key] = value;
    this.changed();
  }

  #clear() {
    collection.filter = { ...NO_FILTER };
    this.changed();
  }

  /** Bring them up to date: so many of the images are shown. */
  draw(shown) {
    const { filter, items, layout, order, run } = collection;
    const counts = new Map();
    for (const item of items) {
      const label = labelOf(item);
      if (label !== undefined) counts.set(label, (counts.get(label) ?? 0) + 1);
    }
    const labels = [...counts].sort(([one], [other]) =>
      one.localeCompare(other, "en", { numeric: true }),
    );
    options(this.label, [
      ["", "any"],
      ...labels.map(([label, count]) => [label, `${label} (${whole(count)})`]),
    ]);
    this.label.value = filter.label;
    const has = { classes: items.some(({ truths }) => truths), two: run?.models.length === 2 };
    has.both = has.classes && has.two;
    const states = Object.entries(STATES).filter(([, { needs }]) => !needs || has[needs]);
    options(
      this.state,
      states.map(([value, { title }]) => [value, title]),
    );
    this.state.value = filter.state;
    this.order.value = order;
    this.text.value = filter.text;
    ["from", "to"].forEach((bound, index) => {
      const field = this.bounds[index];
      // Somebody may be typing another one.
      if (field.dataset.drawn !== String(filter[bound]))
        field.dataset.drawn = field.value = filter[bound];
    });
    this.cell.hidden = !filter.cell;
    this.cell.textContent = filter.cell ? `${filter.cell.text} ×` : "";
    this.cell.setAttribute("aria-label", `Remove the filter ${filter.cell?.text}`);
    for (const [index, name] of ["gallery", "table"].entries())
      this.layouts[index].setAttribute("aria-pressed", String(layout === name));
    this.count.textContent =
      shown === items.length
        ? `${whole(shown)} images`
        : `${whole(shown)} of ${whole(items.length)} images`;
  }
}

function options(select, wanted) {
  const now = [...select.options].map(({ text }) => text).join("\n");
  if (now === wanted.map(([, text]) => text).join("\n")) return; // an open list would close
  select.replaceChildren(...wanted.map(([value, text]) => el("option", { value }, text)));
}
