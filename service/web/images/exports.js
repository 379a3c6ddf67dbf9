/** The answers as files: CSV for tables, JSON for programs. */

import { best } from "./rows.js";

const HEADS = [
  "file",
  "class",
  "model",
  "version",
  "label",
  "class_index",
  "probability",
  "margin",
  "error",
];

/** Return a line for each image and model; commas, quotes and line breaks are quoted (RFC 4180). */
export function asCsv(items) {
  const lines = items.flatMap((item) => records(item).map(line));
  return [HEADS.join(","), ...lines].map((text) => `${text}\r\n`).join("");
}

const line = (record) => HEADS.map((head) => field(record[head])).join(",");

function field(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Return the same as JSON, with all classes of each answer. */
export function asJson(items) {
  const all = items.flatMap((item) =>
    records(item).map((record, index) => ({
      ...record,
      predictions: item.outcomes[index].answer?.predictions ?? [],
    })),
  );
  return `${JSON.stringify(all, null, 2)}\n`;
}

function records({ path, truth, outcomes }) {
  return (outcomes ?? []).map((outcome) => {
    const found = best(outcome);
    const { name, version } = outcome.model.manifest;
    return {
      file: path,
      class: truth ?? null,
      model: name,
      version,
      label: found?.label ?? null,
      class_index: found?.class_index ?? null,
      probability: found?.probability ?? null,
      margin: found?.margin ?? null,
      error: outcome.error?.message ?? null,
    };
  });
}
