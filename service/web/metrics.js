/** The server's metrics in Prometheus' text format, for values that `History` lacks. */

import { ask } from "./api.js";

const SAMPLE = /^(\w+)\{(.*)\} (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const ESCAPED = /\\(.)/g;

/** Read the declared metrics: a map of names to their samples, `{labels, value}`. */
export async function readMetrics(signal) {
  return parse(await (await ask("metrics", { signal })).text());
}

/** Parse the text format into such a map; samples without labels are left out. */
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
