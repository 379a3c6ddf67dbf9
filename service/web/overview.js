/** The answer of each network in a line: its best class, its probability and its time. */

import { el } from "./dom.js";
import { duration, percent } from "./format.js";
import { linkRow, setTexts, tableHead } from "./table.js";

const PHASES = ["decode", "queue", "inference", "respond"];

const HEADS = ["network", "best class", "confidence", "time", ""];

/** A table with a row for each model; `open` is called with the number of the row that is chosen. */
export class Overview {
  constructor(models, open) {
    this.rows = models.map(({ title }, index) =>
      linkRow(title, () => open(index), HEADS.length - 1),
    );
    this.table = el(
      "section",
      { class: "card scroll overview", tabindex: "0", "aria-label": "Overview" },
      el("table", {}, tableHead(HEADS), el("tbody", {}, this.rows)),
    );
  }

  /** Show the outcomes of `classify`; none while the networks are asked. */
  show(outcomes = []) {
    const common = mostCommon(outcomes);
    this.rows.forEach((node, index) => {
      const texts = told(outcomes[index], common);
      node.toggleAttribute("data-differs", texts.at(-1) === DIFFERS);
      setTexts(node, texts);
    });
  }
}

const DIFFERS = "differs from most";

function told(outcome, common) {
  if (!outcome) return ["", "", "", ""];
  if (outcome.error) return ["failed", "", "", ""];
  const { predictions, timing } = outcome.answer;
  const [{ label, probability }] = predictions;
  const seconds = PHASES.reduce((sum, phase) => sum + timing[`${phase}_us`], 0) / 1e6;
  const note = common !== null && label !== common ? DIFFERS : "";
  return [label, percent(probability), duration(seconds), note];
}

/** The best class of more than half of the networks that answered; null if there is none. */
function mostCommon(outcomes) {
  const labels = outcomes.filter(({ answer }) => answer).map(bestLabel);
  const count = (label) => labels.filter((other) => other === label).length;
  return labels.find((label) => 2 * count(label) > labels.length) ?? null;
}

const bestLabel = ({ answer }) => answer.predictions[0].label;
