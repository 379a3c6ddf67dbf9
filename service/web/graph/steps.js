/** Steps from layer to layer by the arrow keys: down with the data, up against it, and sideways. */

const KEYS = {
  ArrowDown: "down",
  ArrowUp: "up",
  ArrowLeft: "left",
  ArrowRight: "right",
  Home: "first",
  End: "last",
};

/**
 * Let keys and clicks choose one of the marks of layers, and call `chosen` with its index.
 *
 * Only the mark that was chosen last is in the tab order.
 */
export function steps(drawing, marks, neighbours, chosen) {
  let current = 0;
  const choose = (index) => {
    marks[current].setAttribute("tabindex", "-1");
    current = index;
    marks[current].setAttribute("tabindex", "0");
    chosen(current);
  };
  const go = (index) => {
    marks[index].focus({ preventScroll: true });
    marks[index].scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  marks.forEach((mark, index) => {
    mark.addEventListener("focus", () => choose(index));
    mark.addEventListener("click", () => mark.focus({ preventScroll: true }));
  });
  drawing.addEventListener("keydown", (event) => {
    const way = KEYS[event.key];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = neighbours[current][way];
    if (next !== undefined) go(next);
  });
  marks[current].setAttribute("tabindex", "0");
}

/** Return, for each layer, the layer that each key leads to; undefined if there is none. */
export function neighboursOf(layers, nodes) {
  const readers = readersOf(layers);
  const rows = new Map();
  nodes.forEach(({ y }, index) => {
    const row = Math.round(y);
    rows.set(row, [...(rows.get(row) ?? []), index]);
  });
  for (const row of rows.values()) row.sort((one, other) => nodes[one].x - nodes[other].x);
  return layers.map(({ inputs }, index) => {
    const row = rows.get(Math.round(nodes[index].y));
    const place = row.indexOf(index);
    return {
      down: readers[index][0],
      up: inputs[0],
      left: row[place - 1],
      right: row[place + 1],
      first: 0,
      last: layers.length - 1,
    };
  });
}

/** Return, for each layer, the indices of the layers that read its output. */
export function readersOf(layers) {
  const readers = layers.map(() => []);
  layers.forEach(({ inputs }, index) => {
    for (const from of new Set(inputs)) readers[from].push(index);
  });
  return readers;
}
