/** One image to several models, uploaded once. */

import { askJson, Refused, Unreachable } from "./api.js";

export const TOP_K = 5;

/**
 * Classify an image: `{model, answer, seen}` or `{model, error}` for each model.
 *
 * An answer is that of `POST /v1/models/M/classify`; `seen` is the image as the network sees it, as
 * an `ImageBitmap`, with `hasPreview`. Raises what is wrong with the image for all of them.
 */
export async function classify(models, image, maxBytes, { signal, hasPreview = true } = {}) {
  if (image.size > maxBytes) throw tooLarge(image.size, maxBytes);
  const query = new URLSearchParams(
    models.map(({ manifest: { name, version } }) => ["model", `${name}/${version}`]),
  );
  query.set("preview", hasPreview);
  const { answers } = await sendImage(`page/answers?${query}`, image, signal);
  return Promise.all(models.map((model, index) => outcome(model, answers[index])));
}

/** Send an image, and parse the JSON of the answer; raises as `ask`, or that the file is unreadable. */
export async function sendImage(path, image, signal) {
  try {
    return await askJson(path, { method: "POST", body: image, signal });
  } catch (error) {
    // A request whose file cannot be read fails like one to a server that is gone.
    if (error instanceof Unreachable && !(await isReadable(image))) throw unreadable();
    throw error;
  }
}

const isReadable = (image) =>
  image
    .slice(0, 1)
    .arrayBuffer()
    .then(
      () => true,
      () => false,
    );

async function outcome(model, answer) {
  const { status, reason, error, retry_after_s: retryAfterS, preview } = answer;
  if (error) return { model, error: new Refused(status, reason, error, retryAfterS) };
  if (!preview) return { model, answer };
  const bytes = Uint8Array.from(atob(preview), (letter) => letter.charCodeAt(0));
  return { model, answer, seen: await createImageBitmap(new Blob([bytes])) };
}

const unreadable = () =>
  new Refused(400, "INVALID_IMAGE", "The file cannot be read: it was moved, changed or removed.");

function tooLarge(bytes, maxBytes) {
  const message = `The file has ${bytes} bytes, and this server accepts at most ${maxBytes}. The file was not sent; choose a smaller one.`;
  return new Refused(400, "IMAGE_TOO_LARGE", message);
}
