/** The state of the server: it is asked every few seconds, more often while it is gone. */

const WATCH_MS = 5000;
const RETRY_MS = 1000;
const PATIENCE_MS = 10_000; // without an answer, as from a server that hangs, it is gone

class Connection extends EventTarget {
  /** `connecting`, `ready`, `loading` (it answers, and is not ready) or `gone`. */
  state = "connecting";

  #timer = null;

  /** Begin to ask. */
  start() {
    document.addEventListener("visibilitychange", () => document.hidden || this.#look());
    this.#look();
  }

  /** Ask at once, as another request got no answer. */
  lost() {
    if (this.state === "ready") this.#look();
  }

  async #look() {
    clearTimeout(this.#timer);
    try {
      const answer = await fetch("v2/health/ready", { signal: AbortSignal.timeout(PATIENCE_MS) });
      this.#become(answer.ok ? "ready" : "loading");
    } catch {
      this.#become("gone");
    }
    // A tab that nobody sees asks nothing.
    if (!document.hidden)
      this.#timer = setTimeout(() => this.#look(), this.state === "ready" ? WATCH_MS : RETRY_MS);
  }

  #become(state) {
    if (state === this.state) return;
    const before = this.state;
    this.state = state;
    this.dispatchEvent(new CustomEvent("change", { detail: { before } }));
  }
}

export const connection = new Connection();
