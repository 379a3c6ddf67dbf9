/** The progress of the run, and buttons that save its answers. */

import { el } from "../dom.js";
import { rounded, whole } from "../format.js";
import { save } from "../save.js";
import { collection } from "./collection.js";
import { asCsv, asJson } from "./exports.js";

export class Progress {
  constructor(stopOrGoOn) {
    this.bar = el("progress", { max: "1", value: "0", "aria-label": "Images classified" });
    this.text = el("p", { role: "status" });
    this.button = el("button", { type: "button", class: "small", click: stopOrGoOn });
    const file = (name, text, type) =>
      el(
        "button",
        {
          type: "button",
          class: "small",
          click: () => save(text(collection.items), `convoy.${name}`, type),
        },
        `Save ${name.toUpperCase()}`,
      );
    this.box = el(
      "section",
      { class: "card row progress", "aria-label": "Progress", hidden: true },
      this.bar,
      this.text,
      this.button,
      file("csv", asCsv, "text/csv"),
      file("json", asJson, "application/json"),
    );
  }

  draw() {
    const { run, items, others } = collection;
    this.box.hidden = !items.length && !others;
    const done = run?.done ?? 0;
    this.bar.value = items.length ? done / items.length : 0;
    const failed = items.filter(({ outcomes }) => outcomes?.some(({ error }) => error)).length;
    this.text.textContent = [
      `${whole(done)} of ${whole(items.length)} images classified`,
      done ? `${rounded(done / run.seconds)} images/s` : "",
      failed ? `${whole(failed)} failed` : "",
      others ? `${whole(others)} other ${others === 1 ? "file" : "files"} left out` : "",
    ]
      .filter(Boolean)
      .join(" · ");
    this.button.hidden = !run?.seconds || (done >= items.length && !run.isRunning);
    this.button.textContent = run?.isRunning ? "Stop" : "Continue";
  }
}
