/** The facts that are known of each image, its place in an order, and the filters. */

/** The best class of an outcome of `classify`, with its probability and its lead on the next. */
export function best(outcome) {
  const [first, second] = outcome?.answer?.predictions ?? [];
  if (!first) return null;
  return { ...first, margin: first.probability - (second?.probability ?? 0) };
}

export const labelOf = (item, model = 0) => best(item.outcomes?.[model])?.label;

/** Return whether an image's answer is right; null without a known class or an answer. */
export function isRight(item, model = 0) {
  const outcome = item.outcomes?.[model];
  if (!item.truths || !outcome || isLeftOut(item)) return null;
  // Scores that are no numbers are a wrong answer.
  return best(outcome)?.class_index === item.truths[model];
}

/** Return whether a model could not decode the image: none is measured on it, as in `convoy evaluate`. */
export const isLeftOut = ({ outcomes }) =>
  (outcomes ?? []).some(({ error }) => error && error.reason !== "SCORES_NOT_FINITE");

export const disagree = (item) =>
  new Set((item.outcomes ?? []).map((outcome) => best(outcome)?.label)).size > 1;

const number = (value) => value ?? Infinity; // what has no answer comes last

const by =
  (value, sign = 1) =>
  (one, other) => {
    const [first, second] = [value(one), value(other)];
    if (typeof first === "string" || typeof second === "string")
      return sign * (first ?? "\uffff").localeCompare(second ?? "\uffff", "en", { numeric: true });
    return sign * (number(first) - number(second)) || 0;
  };

const probability = ({ outcomes }) => best(outcomes?.[0])?.probability;
const margin = ({ outcomes }) => best(outcomes?.[0])?.margin;

/** The orders that are offered. */
export const ORDERS = {
  file: { title: "File", compare: by(({ path }) => path) },
  label: { title: "Prediction", compare: by((item) => labelOf(item)) },
  least: { title: "Confidence, lowest first", compare: by(probability) },
  most: { title: "Confidence, highest first", compare: by((item) => -(probability(item) ?? -1)) },
  margin: { title: "Margin, smallest first", compare: by(margin) },
};

/** The states of an image that the filter offers. */
export const STATES = {
  all: { title: "All images", test: () => true },
  right: { title: "Right", test: (item) => isRight(item) === true, needs: "classes" },
  wrong: { title: "Wrong", test: (item) => isRight(item) === false, needs: "classes" },
  differ: { title: "Networks disagree", test: disagree, needs: "two" },
  onlyFirst: {
    title: "Only the first network is right",
    test: (item) => isRight(item, 0) === true && isRight(item, 1) === false,
    needs: "both",
  },
  onlySecond: {
    title: "Only the second network is right",
    test: (item) => isRight(item, 1) === true && isRight(item, 0) === false,
    needs: "both",
  },
  failed: {
    title: "Failed",
    test: ({ outcomes }) => (outcomes ?? []).some(({ error }) => error),
  },
};

/** The filter that shows everything. */
export const NO_FILTER = {
  text: "",
  state: "all",
  label: "",
  from: 0,
  to: 100,
  cell: null, // {truth, given, model} of a confusion matrix
};

/** The items that *filter* shows, in the order of this name. */
export function select(items, filter, order) {
  const text = filter.text.trim().toLowerCase();
  const bounded = filter.from > 0 || filter.to < 100;
  const shown = items.filter(
    (item) =>
      (!text || item.path.toLowerCase().includes(text)) &&
      STATES[filter.state].test(item) &&
      (!filter.label || labelOf(item) === filter.label) &&
      (!bounded || isBetween(probability(item), filter.from / 100, filter.to / 100)) &&
      (!filter.cell || isInCell(item, filter.cell)),
  );
  return order === "file" ? shown : shown.sort(ORDERS[order].compare);
}

const isBetween = (value, from, to) => value !== undefined && value >= from && value <= to;

const isInCell = (item, { truth, given, model }) =>
  isRight(item, model) !== null &&
  item.truths[model] === truth &&
  best(item.outcomes[model])?.class_index === given;
