/** The image that Try shows, the part of it, and the key of the model; kept while other views are open. */

export const ALL = "all";

export const chosen = { image: null, file: "", part: null, model: ALL };

/** Show an image in Try. */
export function openInTry(image, file) {
  Object.assign(chosen, { image, file, part: null });
  location.hash = "#try";
}
