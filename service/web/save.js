/** Save text or an image as a file. */

import { el } from "./dom.js";

/** Have the browser save *content*, a text or a `Blob`, under this name. */
export function save(content, name, type) {
  const href = URL.createObjectURL(new Blob([content], { type }));
  el("a", { href, download: name }).click();
  URL.revokeObjectURL(href);
}
