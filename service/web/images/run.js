/** Classifies many images: a few requests at a time, each image uploaded once for all models. */

import { Refused, Unreachable } from "../api.js";
import { classify } from "../classify.js";
import { connection } from "../connection.js";

/** Requests in flight: enough for batches, and fewer than browsers open connections. */
export const MOST_REQUESTS = 5;

/** Reasons of a server that is busy, starting or gone: the same request may succeed later. */
const PASSING = new Set(["QUEUE_FULL", "DEADLINE_UNMEETABLE", "SHUTTING_DOWN", "MODEL_NOT_READY"]);

/** Reasons that concern one image; any other refusal ends the run, as it would meet all images. */
const OF_ONE_IMAGE = new Set([
  "IMAGE_TOO_LARGE",
  "REQUEST_TOO_LARGE",
  "INVALID_IMAGE",
  "SCORES_NOT_FINITE",
]);

/**
 * A run over `items`, `{path, file}` each, which gives each item `outcomes`: one of `classify` for
 * each of `models`.
 *
 * It dispatches `progress` when an item has its outcomes, and `end`.
 */
export class Run extends EventTarget {
  done = 0;
  error = null;
  isRunning = false;
  #left;
  #startedAt = 0;
  #secondsBefore = 0;
  #stopping = new AbortController();

  constructor(items, models, maxImageBytes) {
    super();
    Object.assign(this, { items, models, maxImageBytes });
    this.#left = [...items].reverse();
  }

  async start() {
    Object.assign(this, { isRunning: true, error: null });
    this.#startedAt = performance.now();
    this.#stopping = new AbortController();
    const workers = Array.from({ length: MOST_REQUESTS }, () => this.#work());
    await Promise.all(workers);
    this.#secondsBefore = this.seconds;
    this.isRunning = false;
    this.dispatchEvent(new Event("end"));
  }

  /** The time that it has run, in seconds, without pauses. */
  get seconds() {
    const now = this.isRunning ? (performance.now() - this.#startedAt) / 1000 : 0;
    return this.#secondsBefore + now;
  }

  /** Pause the run; `start` goes on with the images that have no outcomes. */
  stop() {
    this.#stopping.abort();
  }

  async #work() {
    const { signal } = this.#stopping;
    while (this.#left.length && !signal.aborted) {
      const item = this.#left.pop();
      try {
        item.outcomes = await this.#ask(item, signal);
      } catch (error) {
        this.#left.push(item); // for the next start
        if (signal.aborted) return;
        this.error = error;
        this.stop();
        return;
      }
      this.done += 1;
      this.dispatchEvent(new Event("progress"));
    }
  }

  /** Ask all models about an image, again for as long as the server is busy or gone. */
  async #ask({ file }, signal) {
    for (;;) {
      let waitS;
      try {
        const outcomes = await this.#once(file, signal);
        const busy = outcomes.find(({ error }) => PASSING.has(error?.reason));
        const fatal = outcomes.find(({ error }) => error && !OF_ONE_IMAGE.has(error.reason));
        if (!busy && fatal) throw fatal.error;
        if (!busy) return outcomes;
        waitS = busy.error.retryAfterS;
      } catch (error) {
        const passes = error instanceof Unreachable || PASSING.has(error.reason);
        if (!passes) throw error;
        waitS = error.retryAfterS;
      }
      await wait(waitS ?? 1, signal);
    }
  }

  async #once(file, signal) {
    try {
      const options = { signal, hasPreview: false };
      return await classify(this.models, file, this.maxImageBytes, options);
    } catch (error) {
      // A refusal of the upload itself is one for each model.
      if (error instanceof Refused && OF_ONE_IMAGE.has(error.reason))
        return this.models.map((model) => ({ model, error }));
      throw error;
    }
  }
}

/** Wait for so many seconds, and then until the server is ready. */
async function wait(seconds, signal) {
  do {
    await new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, 1000 * seconds);
      signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), {
        once: true,
      });
    });
  } while (connection.state !== "ready");
}
