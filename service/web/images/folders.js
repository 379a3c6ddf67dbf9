/** Folders as classes: which folder tells the class of an image, and what it means for a model. */

// The same as PARTS in export/data/folders.py.
const PARTS = new Set(
  "train training val valid validation dev eval evaluation test testing".split(" "),
);

// The same as in export/data/classes.py.
const WORDNET = /^n\d{8}$/;

const NAMED = 3;

/**
 * Give each image its class as `truth`, if all of them lie in folders below one folder.
 *
 * Returns the names of the classes in order, or null without classes, then with the `problem` if
 * there is one.
 */
export function classesOf(images) {
  const parts = images.map(({ path }) => path.split("/").slice(0, -1));
  const roots = new Set(parts.map(([root]) => root));
  // A folder that was dropped is above its classes; several folders are classes themselves.
  const level = roots.size === 1 ? 1 : 0;
  const names = new Set(parts.map((folders) => folders[level]));
  if (!images.length) return { classes: null, problem: "" };
  if (names.has(undefined)) return { classes: null, problem: outside(images, parts, level) };
  const folders = [...names].sort();
  if (folders.every((name) => PARTS.has(name.toLowerCase())))
    return {
      classes: null,
      problem: `The folder holds parts of a data set: ${folders.join(", ")}. To measure accuracy, choose one of them.`,
    };
  images.forEach((image, index) => (image.truth = parts[index][level]));
  return { classes: folders, problem: "" };
}

/** The problem of images beside the folders of other images; none if there are no such folders. */
function outside(images, parts, level) {
  const alone = images.filter((_, index) => parts[index][level] === undefined);
  if (alone.length === images.length) return "";
  const [count, verb] = alone.length === 1 ? ["1 image lies", "it"] : [`${alone.length} images lie`, "them"];
  return `No accuracy is measured: ${count} in no folder of a class, such as ${alone[0].path}. To measure accuracy, remove ${verb} or choose a folder that holds folders of classes only.`;
}

/**
 * The index of each class in the output of a model with these labels, as `class_indices` in
 * export/data/classes.py finds it: `{indices}`, or the `problem` and whether an order may help.
 */
export function indicesOf(classes, labels, title, byOrder) {
  const known = new Map(labels.map((label, index) => [label, index]));
  if (!byOrder && known.size === labels.length && classes.every((name) => known.has(name)))
    return { indices: new Map(classes.map((name) => [name, known.get(name)])) };
  const isOrdered = byOrder || classes.every((name) => WORDNET.test(name));
  const mayBeOrdered = classes.length === labels.length;
  if (isOrdered && mayBeOrdered)
    return { indices: new Map(classes.map((name, index) => [name, index])) };
  const unknown = classes.filter((name) => !known.has(name));
  const rest = unknown.length > NAMED ? ` and ${unknown.length - NAMED} more` : "";
  const named = unknown.slice(0, NAMED).join(", ");
  return {
    problem: `${title} does not know the classes ${named}${rest}. To measure accuracy, name the folders as its labels, such as ${labels.slice(0, NAMED).join(", ")}.`,
    mayBeOrdered,
  };
}
