/** One image to several models, uploaded once. */

import { askJson, Refused } from "./api.js";

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
  const { answers } = await askJson(`page/answers?${query}`, {
    method: "POST",
    body: image,
    signal,
  });
  return Promise.all(models.map((model, index) => outcome(model, answers[index])));
}

async function outcome(model, answer) {
  const { status, reason, error, retry_after_s: retryAfterS, preview } = answer;
  if (error) return { model, error: new Refused(status, reason, error, retryAfterS) };
  if (!preview) return { model, answer };
  const bytes = Uint8Array.from(atob(preview), (letter) => letter.charCodeAt(0));
  return { model, answer, seen: await createImageBitmap(new Blob([bytes])) };
}

function tooLarge(bytes, maxBytes) {
  const message = `The file has ${bytes} bytes, and this server accepts at most ${maxBytes}. The file was not sent; choose a smaller one.`;
  return new Refused(400, "IMAGE_TOO_LARGE", message);
}
