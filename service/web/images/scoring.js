/**
 * Scores of answers to labelled images: the same as in convoy/commands/evaluate/scoring.py, which
 * has the sources.
 *
 * An answer is `{truth, best, confidence}`: the index of the right class; those of the best classes,
 * none where the scores were no numbers; and the probability of the first, then 0.
 */

const BINS = 15;

export const isRight = ({ truth, best }) => best[0] === truth;

/** The share of answers with the right class among their `top` first, with its 95 % interval (Wilson). */
export function measured(answers, top = 1) {
  const right = answers.filter(({ truth, best }) => best.slice(0, top).includes(truth)).length;
  const count = answers.length;
  const [z, share] = [1.96, right / count];
  const centre = share + (z * z) / (2 * count);
  const spread = z * Math.sqrt((share * (1 - share)) / count + (z * z) / (4 * count * count));
  const scale = 1 + (z * z) / count;
  return {
    count: right,
    share,
    low: Math.max(0, (centre - spread) / scale),
    high: Math.min(1, (centre + spread) / scale),
  };
}

/** The number of images for each pair that occurs, `{truth, given, count}`, as in the classes' order. */
export function confusion(answers) {
  const pairs = new Map();
  for (const { truth, best } of answers) {
    if (!best.length) continue; // no class was given
    const key = `${truth} ${best[0]}`;
    const pair = pairs.get(key) ?? { truth, given: best[0], count: 0 };
    pair.count += 1;
    pairs.set(key, pair);
  }
  return [...pairs.values()].sort((a, b) => a.truth - b.truth || a.given - b.given);
}

/** The expected calibration error `ece`, and the `bins` with images, by rising confidence. */
export function reliability(answers) {
  const found = Array.from({ length: BINS }, () => ({ images: 0, sum: 0, right: 0 }));
  for (const answer of answers) {
    // A confidence on a border belongs to the bin below it.
    const number = Math.ceil(answer.confidence * BINS) - 1;
    const bin = found[Math.min(Math.max(number, 0), BINS - 1)];
    bin.images += 1;
    bin.sum += answer.confidence;
    bin.right += isRight(answer);
  }
  const bins = found
    .filter(({ images }) => images)
    .map(({ images, sum, right }) => ({
      images,
      confidence: sum / images,
      accuracy: right / images,
    }));
  const errors = bins.map((bin) => bin.images * Math.abs(bin.confidence - bin.accuracy));
  return { ece: errors.reduce((sum, one) => sum + one, 0) / answers.length, bins };
}

/** McNemar's exact test of the answers of two models to the same images, in the same order. */
export function mcnemar(first, second) {
  const only = (one, other) => one.filter((a, i) => isRight(a) && !isRight(other[i])).length;
  const [onlyFirst, onlySecond] = [only(first, second), only(second, first)];
  const total = onlyFirst + onlySecond;
  // Two sides of a binomial distribution of chance 1/2, in logarithms as its terms may be tiny.
  let term = -total * Math.log(2);
  let tail = 0;
  for (let k = 0; k <= Math.min(onlyFirst, onlySecond); k += 1) {
    tail += Math.exp(term);
    term += Math.log(total - k) - Math.log(k + 1);
  }
  return { onlyFirst, onlySecond, pValue: Math.min(1, 2 * tail) };
}
