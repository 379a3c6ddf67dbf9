/** All models in one table: what they did in the last seconds. */

import { el } from "./dom.js";
import { duration, rounded, whole } from "./format.js";

const HEADS = ["model", "requests/s", "images/s", "failed/s", "p50", "p99", "queue"];

/** The table of a `History`; `choose` is called with the model whose charts are to be shown. */
export class LiveTable {
  constructor(choose) {
    this.choose = choose;
    this.body = el("tbody");
    this.table = el(
      "section",
      { class: "card scroll", tabindex: "0", "aria-label": "All models" },
      el(
        "table",
        {},
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            HEADS.map((head) => el("th", { scope: "col" }, head)),
          ),
        ),
        this.body,
      ),
    );
  }

  draw(history) {
    const { models } = history;
    if (models.join("\n") !== this.models) {
      this.models = models.join("\n");
      this.body.replaceChildren(...models.map((model) => this.row(model)));
    }
    models.forEach((model, index) => {
      const cells = this.body.children[index].children;
      texts(history, model).forEach((text, column) => (cells[column + 1].textContent = text));
    });
  }

  row(model) {
    const click = () => this.choose(model);
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, el("button", { type: "button", class: "link", click }, model)),
      HEADS.slice(1).map(() => el("td")),
    );
  }
}

function texts(history, model) {
  const last = (values) => values.at(-1) ?? 0;
  const time = (share) => {
    const seconds = last(history.latency(model, share));
    return seconds ? duration(seconds) : "–";
  };
  const failed = history.failed(model).reduce((sum, { values }) => sum + last(values), 0);
  return [
    rounded(last(history.requests(model))),
    rounded(last(history.images(model))),
    rounded(failed),
    time(0.5),
    time(0.99),
    whole(last(history.queueDepth(model))),
  ];
}
