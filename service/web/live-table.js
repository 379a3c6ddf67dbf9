/** A table of all models: recent activity, and the failures of the last ten minutes. */

import { el } from "./dom.js";
import { duration, rounded, whole } from "./format.js";
import { headRow, linkRow, plainRow, setTexts } from "./table.js";

const NOW = ["requests/s", "images/s", "failed/s", "p50", "p99", "queue"];

/** Rows of calls that no served model answered, which appear once such calls have failed. */
const NO_MODEL = { unknown: "(unknown model)", "": "(no model)" };

/** The table of a `History`; `choose` is called with the model whose charts are to be shown. */
export class LiveTable {
  constructor(choose) {
    this.choose = choose;
    this.head = el("thead");
    this.body = el("tbody");
    this.table = el(
      "section",
      { class: "card scroll", tabindex: "0", "aria-label": "All models" },
      el("table", { class: "all-models" }, this.head, this.body),
    );
  }

  draw(history) {
    const others = Object.keys(NO_MODEL).filter((name) => history.failures(name).size);
    const failures = new Map(
      [...history.models, ...others].map((name) => [name, history.failures(name)]),
    );
    const reasons = [...new Set([...failures.values()].flatMap((one) => [...one.keys()]))].sort();
    this.layOut([...failures.keys()], reasons);
    [...failures].forEach(([name, counts], index) => {
      const now = name in NO_MODEL ? NOW.map(() => "") : texts(history, name);
      setTexts(this.body.children[index], [...now, ...counted(counts, reasons)]);
    });
  }

  /** Rebuild the rows and columns if they have changed. */
  layOut(names, reasons) {
    const shape = JSON.stringify([names, reasons]);
    if (shape === this.shape) return;
    this.shape = shape;
    const failed = ["all", ...reasons.map(words)];
    this.head.replaceChildren(
      el(
        "tr",
        {},
        el("td"),
        el("th", { scope: "colgroup", colspan: NOW.length }, "now"),
        el("th", { scope: "colgroup", colspan: failed.length }, "failed in the last ten minutes"),
      ),
      headRow(["model", ...NOW, ...failed]),
    );
    const count = NOW.length + failed.length;
    this.body.replaceChildren(
      ...names.map((name) =>
        name in NO_MODEL
          ? plainRow(NO_MODEL[name], count)
          : linkRow(name, () => this.choose(name), count),
      ),
    );
  }
}

/** Turn `QUEUE_FULL` into "queue full". */
const words = (reason) => reason.toLowerCase().replaceAll("_", " ");

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

function counted(counts, reasons) {
  const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
  return [all, ...reasons.map((reason) => counts.get(reason) ?? 0)].map(whole);
}
