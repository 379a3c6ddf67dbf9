/** What all networks said, in a line. */

import { percent } from "./format.js";

/** The line for `{model, classes}` and `{model, error}` of each network. */
export function summarize(outcomes) {
  const answered = outcomes.filter(({ classes }) => classes);
  const failed = outcomes.length - answered.length;
  const failures = failed ? [`${count(failed)} gave no answer`] : [];
  if (answered.length === 1) return [sentence(answered[0]), ...failures].join(" · ");
  return [...agreement(answered), ...failures].join(" · ");
}

function sentence({ model, classes: [{ label, probability }] }) {
  return `${model.title}: ${label}, ${percent(probability)}`;
}

/** The labels that are some network's best, the most frequent first, each with its networks. */
function agreement(answered) {
  const counts = new Map();
  for (const { classes } of answered)
    counts.set(classes[0].label, (counts.get(classes[0].label) ?? 0) + 1);
  const sorted = [...counts].sort(([, one], [, other]) => other - one);
  return sorted.map(([label, number]) => `${label}: ${count(number)}`);
}

const count = (number) => (number === 1 ? "1 network" : `${number} networks`);
