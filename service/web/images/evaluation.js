/** The scores of the models on a labelled folder, as `convoy evaluate` measures them. */

import { el } from "../dom.js";
import { percent, whole } from "../format.js";
import { scrollTable, textRow } from "../table.js";
import { answersOf } from "./answers.js";
import { confusionMatrix } from "./confusion-matrix.js";
import { reliabilityChart } from "./reliability-chart.js";
import { confusion, mcnemar, measured, reliability } from "./scoring.js";

/** Probability below which a difference is hardly due to chance; as in `convoy evaluate`. */
const LEVEL = 0.05;

/**
 * The parts of the evaluation of a collection; none without answers to labelled images.
 *
 * `show` is called with the changes of the filter that show the images of a figure, and an order.
 */
export function evaluation(collection, show) {
  const { items, run, labels } = collection;
  const models = run?.models ?? [];
  const { answers, leftOut } = answersOf(items, models);
  if (!answers[0]?.length) return [];
  return [
    el(
      "h2",
      {},
      `Accuracy on ${whole(answers[0].length)} images of ${whole(collection.classes.length)} classes`,
    ),
    leftOut
      ? el(
          "p",
          {},
          `Left out: ${whole(leftOut)} ${leftOut === 1 ? "image" : "images"} that cannot be read.`,
        )
      : "",
    shares(models, answers, labels),
    el(
      "p",
      { class: "muted" },
      "In brackets: 95 % intervals (Wilson). ECE: expected calibration error, 15 bins. These are the figures of convoy evaluate.",
    ),
    answers.length === 2 ? flips(models, answers, show) : "",
    ...models.map((model, index) => details(model, index, answers[index], labels[index], show)),
  ];
}

function shares(models, answers, labels) {
  const share = ({ share: value, low, high }) =>
    `${percent(value, 2)} (${(100 * low).toFixed(2)}–${(100 * high).toFixed(2)})`;
  const rows = models.map(({ title }, index) => {
    const mine = answers[index];
    const cells = [
      share(measured(mine)),
      labels[index].length > 5 ? share(measured(mine, 5)) : "–",
      reliability(mine).ece.toFixed(4),
    ];
    return textRow(title, cells);
  });
  const heads = ["network", "top-1", "top-5", "ECE"];
  return el("div", { class: "shares" }, scrollTable("Accuracy of the networks", heads, rows));
}

/** Describe the answers that differ between the two models. */
function flips([first, second], answers, show) {
  const { onlyFirst, onlySecond, pValue } = mcnemar(...answers);
  const only = (count, title, state) =>
    el(
      "button",
      { type: "button", class: "small", click: () => show({ state }) },
      `Only ${title} is right: ${whole(count)}`,
    );
  const chance = pValue < LEVEL ? "" : ": the difference may be due to chance";
  return el(
    "div",
    { class: "row flips" },
    only(onlyFirst, first.title, "onlyFirst"),
    only(onlySecond, second.title, "onlySecond"),
    el("span", {}, `McNemar's exact test: p = ${Number(pValue.toPrecision(3))}${chance}`),
  );
}

function details(model, index, answers, labels, show) {
  const mistakes = el(
    "button",
    { type: "button", class: "small", click: () => show({ state: "wrong" }, "most") },
    "Show the most confident mistakes",
  );
  return el(
    "details",
    { open: index === 0 },
    el("summary", {}, `${model.title}: confusion and calibration`),
    index === 0 ? mistakes : "",
    el(
      "div",
      { class: "figures" },
      confusionMatrix(confusion(answers), labels, model.title, ({ truth, given }) =>
        show({
          cell: { truth, given, model: index, text: `${labels[truth]} given as ${labels[given]}` },
        }),
      ),
      reliabilityChart(reliability(answers), model.title),
    ),
  );
}
