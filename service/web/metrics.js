/** The server's metrics, as Prometheus reads them, for what the samples of `History` do not have. */

import { ask } from "./api.js";

const SAMPLE = /^(\w+)\{(.*)\} (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const ESCAPED = /\\(.)/g;

/** The metrics that are declared, by name, and the samples of each: `{labels, value}`. */
export async function readMetrics(signal) {
  return parse(await (await ask("metrics", { signal })).text());
}

/** The same of their text; a metric without labels is left out. */
export function parse(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const declared = /^# TYPE (\w+) /.exec(line)?.[1];
    if (declared && !found.has(declared)) found.set(declared, []);
    const [, name, labels, value] = SAMPLE.exec(line) ?? [];
    if (!name) continue;
    if (!found.has(name)) found.set(name, []); // the parts of a histogram have no type
    found.get(name).push({ labels: labelsOf(labels), value: Number(value) });
  }
  return found;
}

function labelsOf(text) {
  const pairs = [...text.matchAll(LABEL)].map(([, name, value]) => [
    name,
    value.replace(ESCAPED, (_, letter) => (letter === "n" ? "\n" : letter)),
  ]);
  return Object.fromEntries(pairs);
}
