/** The answers of all networks, in a line. */

import { percent } from "./format.js";

/** The line for the outcomes of `classify`. */
export function summarize(outcomes) {
  const answered = outcomes.filter(({ answer }) => answer);
  const failed = outcomes.length - answered.length;
  const failures = failed ? [`${count(failed)} failed`] : [];
  if (answered.length === 1) return [sentence(answered[0]), ...failures].join(" · ");
  return [...agreement(answered), ...failures].join(" · ");
}

function sentence({ model, answer }) {
  const [{ label, probability }] = answer.predictions;
  return `${model.title}: ${label}, ${percent(probability)}`;
}

/** The labels that are some network's best, the most frequent first, each with its networks. */
function agreement(answered) {
  const counts = new Map();
  for (const { answer } of answered) {
    const [{ label }] = answer.predictions;
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  const sorted = [...counts].sort(([, one], [, other]) => other - one);
  return sorted.map(([label, number]) => `${label}: ${count(number)}`);
}

const count = (number) => (number === 1 ? "1 network" : `${number} networks`);
