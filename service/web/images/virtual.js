/** A long list of which only the part in view is in the document. */

/** Number of rows that are kept ready above and below the view. */
const SPARE = 4;

/**
 * Shows `items` inside `viewport`, which scrolls, as children of `list`.
 *
 * `make` returns the node of an item, `update` brings one up to date; a node lives for as long as
 * its item is in view, so that the keyboard keeps its place. `space` is told the pixels above and
 * below, and `rowPx` and `columns` tell how items lie.
 */
export class VirtualList {
  #items = [];
  #nodes = new Map();
  #isDue = false;

  constructor(viewport, list, { rowPx, columns = () => 1, make, update, space }) {
    Object.assign(this, { viewport, list, rowPx, columns, make, update, space });
    viewport.addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#soon()).observe(viewport);
  }

  /** Show other items, or what is new of the same. */
  show(items) {
    this.#items = items;
    this.#soon();
  }

  #soon() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#draw();
    });
  }

  #draw() {
    const { viewport, rowPx } = this;
    const columns = this.columns(viewport.clientWidth);
    const rows = Math.ceil(this.#items.length / columns);
    const first = Math.max(0, Math.min(Math.floor(viewport.scrollTop / rowPx), rows) - SPARE);
    const last = Math.min(rows, first + Math.ceil(viewport.clientHeight / rowPx) + 2 * SPARE);
    const start = first * columns;
    const shown = this.#items.slice(start, last * columns);
    this.space(first * rowPx, (rows - last) * rowPx, this.#items.length);
    const nodes = new Map(shown.map((item) => [item, this.#nodes.get(item) ?? this.make(item)]));
    for (const [item, node] of this.#nodes) if (!nodes.has(item)) node.remove();
    this.#nodes = nodes;
    let place = this.list.firstChild;
    [...nodes].forEach(([item, node], index) => {
      // A node that moves loses the keyboard: those in their places stay.
      if (node === place) place = place.nextSibling;
      else this.list.insertBefore(node, place);
      this.update(node, item, start + index);
    });
  }
}
