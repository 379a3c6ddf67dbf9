/** The images that Images shows, with their answers; kept while other views are open. */

import { imagesAmong } from "./files.js";
import { classesOf } from "./folders.js";
import { NO_FILTER } from "./rows.js";

/**
 * `items` are `{path, file}`, and more as it becomes known: `truth`, the name of the class that the
 * image is of; `truths`, the index of that class in each model; `outcomes`, what each model answered.
 */
export const collection = {
  items: [],
  others: 0,
  classes: null,
  problem: "",
  mayBeOrdered: false,
  labels: [],
  run: null,
  filter: { ...NO_FILTER },
  order: "file",
  layout: "gallery",
  first: "",
  second: "",
  byOrder: false,
};

/** Replace the images by those among `files`. */
export function take(files) {
  collection.run?.stop();
  const { images, others } = imagesAmong(files);
  const { classes, problem } = classesOf(images);
  Object.assign(collection, { items: images, others, classes, problem, run: null, byOrder: false });
  collection.filter = { ...NO_FILTER };
}

/** Show these files in Images. */
export function openImages(files) {
  take(files);
  location.hash = "#images";
}
