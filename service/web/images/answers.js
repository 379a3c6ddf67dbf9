/** The answers that count: to images whose class is known, and that every model could decode. */

import { isLeftOut } from "./rows.js";

/** Return the answers of each model, as in scoring.js, and the number of images left out. */
export function answersOf(items, models) {
  const done = items.filter(({ truths, outcomes }) => truths && outcomes);
  const used = done.filter((item) => !isLeftOut(item));
  const answers = models.map((_, model) => used.map((item) => answer(item, model)));
  return { answers, leftOut: done.length - used.length };
}

function answer({ truths, outcomes }, model) {
  const predictions = outcomes[model].answer?.predictions ?? [];
  return {
    truth: truths[model],
    best: predictions.map(({ class_index: index }) => index),
    confidence: predictions[0]?.probability ?? 0,
  };
}
