/** The confusion matrix, or of many classes the most frequent confusions; each opens its images. */

import { el } from "../dom.js";
import { whole } from "../format.js";

/** Classes of the largest matrix that is shown whole. */
const WIDEST = 25;

const SHOWN = 20;

/** Draw the matrix of pairs, `{truth, given, count}`; `open` is called with the chosen pair. */
export function confusionMatrix(pairs, labels, title, open) {
  const classes = [...new Set(pairs.flatMap(({ truth, given }) => [truth, given]))].sort(
    (one, other) => one - other,
  );
  return classes.length > WIDEST
    ? mostFrequent(pairs, labels, title, open)
    : matrix(pairs, classes, labels, title, open);
}

function matrix(pairs, classes, labels, title, open) {
  const found = new Map(pairs.map((pair) => [`${pair.truth} ${pair.given}`, pair]));
  const totals = new Map();
  for (const { truth, count } of pairs) totals.set(truth, (totals.get(truth) ?? 0) + count);
  const cell = (truth, given) => {
    const pair = found.get(`${truth} ${given}`);
    if (!pair) return el("td");
    const kind = truth === given ? "right" : "wrong";
    return el(
      "td",
      {},
      button(pair, labels, open, {
        class: `cell ${kind}`,
        style: { "--share": pair.count / totals.get(truth) },
      }),
    );
  };
  return el(
    "div",
    {
      class: "scroll",
      tabindex: "0",
      role: "region",
      "aria-label": `Confusion matrix of ${title}`,
    },
    el(
      "table",
      { class: "confusion" },
      el("caption", {}, "A row for each true class, a column for each class that was given"),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("td"),
          classes.map((index) => el("th", { scope: "col", title: labels[index] }, labels[index])),
        ),
      ),
      el(
        "tbody",
        {},
        classes.map((truth) =>
          el(
            "tr",
            {},
            el("th", { scope: "row", title: labels[truth] }, labels[truth]),
            classes.map((given) => cell(truth, given)),
          ),
        ),
      ),
    ),
  );
}

function button(pair, labels, open, attributes) {
  const { truth, given, count } = pair;
  return el(
    "button",
    {
      type: "button",
      title: `${labels[truth]} given as ${labels[given]}`,
      "aria-label": `${labels[truth]} given as ${labels[given]}: ${count}`,
      click: () => open(pair),
      ...attributes,
    },
    whole(count),
  );
}

function mostFrequent(pairs, labels, title, open) {
  const wrong = pairs.filter(({ truth, given }) => truth !== given);
  const most = wrong.sort((one, other) => other.count - one.count).slice(0, SHOWN);
  return el(
    "div",
    {},
    el("h3", {}, `Most frequent confusions of ${title}`),
    el(
      "ol",
      { class: "confusions" },
      most.map((pair) =>
        el(
          "li",
          {},
          `${labels[pair.truth]} given as ${labels[pair.given]}: `,
          button(pair, labels, open, { class: "small" }),
        ),
      ),
    ),
  );
}
