/** Numbers as people read them. */

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const whole = (value) => plain.format(value);
export const rounded = (value) => short.format(value);
export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
export const megabytes = (bytes) => `${rounded(bytes / 1e6)} MB`;

/** Millions of operations: two for each multiply-accumulate; null is a count that nobody knows. */
export const operations = (macs) => (macs === null ? "not counted" : rounded((2 * macs) / 1e6));

/** A time of so many seconds, in the unit that suits it. */
export function duration(seconds) {
  if (seconds < 1e-3) return `${rounded(seconds * 1e6)} µs`;
  return seconds < 1 ? `${rounded(seconds * 1e3)} ms` : `${rounded(seconds)} s`;
}

/** ONNX Runtime's `CPUExecutionProvider` is `CPU`. */
export const provider = (name) => name.replace("ExecutionProvider", "");
