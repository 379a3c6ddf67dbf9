/** The right classes of the images, by the labels of the models that are asked. */

import { askJson } from "../api.js";
import { indicesOf } from "./folders.js";

const MULTI_LABEL =
  "is a multi-label model: its images may be of several classes, and those of folders are of one.";

/**
 * Give each image its `truths`, one for each model, if its class is known to all of them.
 *
 * Otherwise the collection has the `problem`, and whether an order of classes `mayBeOrdered`.
 */
export async function findTruths(collection, models) {
  const { items, classes, byOrder } = collection;
  if (!classes) return;
  Object.assign(collection, { problem: "", mayBeOrdered: false, labels: [] });
  const maps = [];
  for (const { manifest, scores, title } of models) {
    const path = `v1/models/${encodeURIComponent(manifest.name)}/versions/${manifest.version}`;
    const { labels } = await askJson(path);
    const found =
      scores.kind === "independent"
        ? { problem: `${title} ${MULTI_LABEL}` }
        : indicesOf(classes, labels, title, byOrder);
    if (found.problem) return void Object.assign(collection, found);
    maps.push(found.indices);
    collection.labels.push(labels);
  }
  for (const item of items) item.truths = maps.map((map) => map.get(item.truth));
}
