/** The image that Try shows, and the key of the model that it asks; kept while other views are open. */

export const ALL = "all";

export const chosen = { image: null, file: "", model: ALL };

/** Show an image in Try. */
export function openInTry(image, file) {
  Object.assign(chosen, { image, file });
  location.hash = "#try";
}
