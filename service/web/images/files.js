/** The images of a selection, or of what was dropped, with the folders that they lie in. */

// The same as SUFFIXES in artifact/image_formats.py.
const IMAGE = /\.(avif|bmp|gif|heic|heif|hif|jfif|jpe|jpeg|jpg|png|tif|tiff|webp)$/i;

/** Files that operating systems add, or hide, and that nobody means. */
const HIDDEN = /(^|\/)(\.|__MACOSX\/|Thumbs\.db$|desktop\.ini$)/i;

/** Files of an `<input>`, as `{path, file}`. */
export function selected(files) {
  return [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/**
 * Files of a drop, as `{path, file}`, those in its folders included.
 *
 * Must be called in the event itself: later the browser has forgotten what was dropped.
 */
export async function dropped(data) {
  const entries = [...(data?.items ?? [])].map((item) => item.webkitGetAsEntry?.());
  // Files that a script put there have no entries.
  if (!entries.some(Boolean)) return selected(data?.files ?? []);
  return (await Promise.all(entries.filter(Boolean).map(walk))).flat();
}

async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ path: entry.fullPath.replace(/^\//, ""), file }];
  }
  const reader = entry.createReader();
  const found = [];
  // A reader returns a hundred entries at a time.
  for (let some = await next(reader); some.length; some = await next(reader)) found.push(...some);
  const files = [];
  // One after the other: a drop may hold more folders than can be open at once.
  for (const inner of found) files.push(...(await walk(inner)));
  return files;
}

const next = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));

/** The images among files, by path, and the number of other files. */
export function imagesAmong(files) {
  const seen = files.filter(({ path }) => !HIDDEN.test(path));
  const images = seen.filter(
    ({ path, file }) => IMAGE.test(path) || file.type.startsWith("image/"),
  );
  images.sort((one, other) => (one.path < other.path ? -1 : 1));
  return { images, others: seen.length - images.length };
}
