/** Compare: the networks against each other, every number with its source. */

import { point, unknown } from "./address.js";
import { comparisonTable } from "./comparison-table.js";
import { el } from "./dom.js";
import { paretoFront } from "./pareto.js";
import { megabytes, percent, rounded } from "./format.js";
import { accuracies, family, fastest, networks } from "./networks.js";
import { chart } from "./scatter.js";

const CHARTS = {
  balls: "Accuracy against operations",
  speed: "Accuracy against images per second",
  density: "Accuracy density",
  time: "Time against batch size",
  memory: "Memory against batch size",
};

/** The charts for which a kind of accuracy is chosen. */
const OF_ACCURACY = new Set(["balls", "speed", "density"]);

/** The choices of the user, or of the address, kept while other views are open. */
const kept = { chart: "balls", series: "", hidden: new Set() };

/** Open the view. */
export async function open(root, signal, parameters) {
  kept.chart = parameters.get("chart") || kept.chart;
  kept.series = parameters.get("accuracy") ?? kept.series;
  const found = await networks();
  if (signal.aborted) return; // the address is that of another view
  root.className = "compare";
  if (!found.networks.length)
    root.append(el("p", { class: "card" }, "No models are loaded, so there is nothing to compare."));
  else new Compare(root, found).draw();
}

class Compare {
  constructor(root, { networks: all, machine }) {
    this.all = all;
    this.machine = machine;
    this.series = accuracies(all);
    this.place = el("div", { class: "scatter" });
    this.controls = el("div", { class: "row controls" });
    this.families = el("div", { class: "legend toggles", role: "group", "aria-label": "Families" });
    this.caption = el("p", { class: "muted caption" });
    this.unknown = unknown();
    const parts = [this.controls, this.unknown, this.place, this.families, this.caption];
    root.append(el("section", { class: "card" }, parts), comparisonTable(all, machine));
  }

  /** The chart that is shown: the first if the address names none that there is. */
  get chart() {
    return Object.hasOwn(CHARTS, kept.chart) ? kept.chart : "balls";
  }

  draw() {
    point("compare", { chart: kept.chart, accuracy: kept.series });
    this.drawControls();
    this.drawUnknown();
    this.drawFamilies();
    const { marks, caption, ...rest } = this[this.chart]();
    this.caption.textContent = caption;
    if (!marks.length) {
      this.place.replaceChildren(el("p", { class: "muted empty" }, "Nothing to draw."));
      return;
    }
    const place = el("div", { class: "scatter" }); // its observer goes with it
    this.place.replaceWith(place);
    this.place = place;
    chart(place, { title: CHARTS[this.chart], marks, ...rest });
  }

  /** Say what the address names and the server or the page does not have. */
  drawUnknown() {
    const { chart, series } = kept;
    const texts = [
      chart !== this.chart && `This page has no chart named ${chart}.`,
      series &&
        OF_ACCURACY.has(this.chart) &&
        this.chosen()?.title !== series &&
        `No model has an accuracy ${series}.`,
    ].filter(Boolean);
    this.unknown.hidden = !texts.length;
    this.unknown.textContent = texts.join(" ");
  }

  drawControls() {
    const change =
      (key) =>
      ({ target }) => {
        kept[key] = target.value;
        this.draw();
      };
    const options = (list, chosen) =>
      list.map(([value, text]) => el("option", { value, selected: value === chosen }, text));
    const focused = document.activeElement?.id;
    this.controls.replaceChildren(
      el("label", { for: "chart" }, "Chart"),
      el(
        "select",
        { id: "chart", change: change("chart") },
        options(Object.entries(CHARTS), this.chart),
      ),
    );
    if (OF_ACCURACY.has(this.chart) && this.series.length) {
      const titles = this.series.map(({ title }) => [title, title]);
      this.controls.append(
        el("label", { for: "series" }, "Top-1"),
        el(
          "select",
          { id: "series", change: change("series") },
          options(titles, this.chosen().title),
        ),
      );
    }
    if (focused) document.getElementById(focused)?.focus();
  }

  drawFamilies() {
    const names = new Map(
      this.all.map(({ architecture }) => [family(architecture).name, family(architecture).index]),
    );
    const toggle = (name) => () => {
      kept.hidden.has(name) ? kept.hidden.delete(name) : kept.hidden.add(name);
      this.draw();
    };
    this.families.replaceChildren(
      ...[...names].map(([name, index]) =>
        el(
          "button",
          {
            type: "button",
            class: "small",
            "aria-pressed": String(!kept.hidden.has(name)),
            click: toggle(name),
          },
          el("span", { class: `key family-${index}` }),
          name,
        ),
      ),
    );
  }

  chosen() {
    return this.series.find(({ title }) => title === kept.series) ?? this.series[0];
  }

  balls() {
    const counted = (this.chosen()?.scores ?? []).filter(({ macs }) => macs !== null);
    const largest = Math.max(...counted.map(({ macs }) => 2 * macs));
    const [unit, unitName] = largest >= 1e10 ? [1e9, "billions"] : [1e6, "millions"];
    const marks = this.scores(counted, (score) => ({
      x: (2 * score.macs) / unit,
      y: 100 * score.top1,
      radius: Math.sqrt(12 + 14 * (score.parameters / 1e6)) * 0.65,
      words: [
        score.name,
        `top-1 ${percent(score.top1)}`,
        `${rounded((2 * score.macs) / unit)} ${unitName} of operations`,
        `${rounded(score.parameters / 1e6)} M parameters`,
        score.source,
      ],
    }));
    return {
      marks,
      x: {
        label: `operations per image (${unitName})`,
        logarithmic: spans(marks.map(({ x }) => x)),
      },
      y: { label: "top-1 (%)", bounds: [0, 100] },
      caption: `The area of each circle is proportional to the number of parameters. Operations are 2 × multiply-accumulates. ${this.note()}`,
    };
  }

  speed() {
    const marks = this.scores(this.chosen()?.scores ?? [], (score) => {
      const batch = score.others ? null : fastest(this.all.find(({ name }) => name === score.name));
      return batch && {
        x: 1000 / batch.ms,
        y: 100 * score.top1,
        radius: 6,
        words: [
          score.name,
          `top-1 ${percent(score.top1)}`,
          `${rounded(1000 / batch.ms)} images/s at batch ${batch.size}`,
          batch.source,
        ],
      };
    }).filter(({ x }) => x);
    const front = paretoFront(marks);
    const others = kept.hidden.size ? "other network that is shown" : "other network";
    const told = front.length
      ? `The line is the Pareto front: ${front.map(({ name }) => name).join(", ")}. No ${others} is both faster and more accurate. `
      : "";
    return {
      marks,
      lines: [{ points: front, family: 7, name: "Pareto front" }],
      x: { label: "images per second", logarithmic: true },
      y: { label: "top-1 (%)", bounds: [0, 100] },
      caption: `${told}The speed is that of the fastest batch size. ${this.note()}`,
    };
  }

  density() {
    const marks = this.scores(this.chosen()?.scores ?? [], (score) => ({
      x: score.parameters / 1e6,
      y: (100 * score.top1) / (score.parameters / 1e6),
      radius: 6,
      words: [
        score.name,
        `${rounded((100 * score.top1) / (score.parameters / 1e6))} % per million parameters`,
        `top-1 ${percent(score.top1)}`,
        score.source,
      ],
    }));
    return {
      marks,
      x: { label: "parameters (millions)", logarithmic: true },
      y: { label: "top-1 (%) per million parameters", logarithmic: true },
      caption: `Percentage points of top-1 accuracy per million parameters. ${this.note()}`,
    };
  }

  time() {
    return this.perBatch(
      "ms",
      "ms per image",
      (batch) => batch.ms,
      ({ ms }) => `${rounded(ms)} ms per image`,
    );
  }

  memory() {
    return this.perBatch(
      "bytes",
      "MB: weights and arena",
      (batch) => batch.bytes && batch.bytes / 1e6,
      ({ bytes }) => megabytes(bytes),
    );
  }

  perBatch(key, label, value, words) {
    const lines = this.all.filter(isShown).map((network) => {
      const points = network.batches
        .filter((batch) => batch[key])
        .map((batch) => ({ x: batch.size, y: value(batch), batch }));
      return { points, ...named(network) };
    });
    const marks = lines.flatMap(({ points, ...network }) =>
      points.map(({ x, y, batch }, index) => ({
        ...network,
        ...{ x, y, radius: 3.5, isNamed: index === points.length - 1 },
        words: [network.name, `batch ${batch.size}: ${words(batch)}`, batch.source],
      })),
    );
    return {
      marks,
      lines: lines.filter(({ points }) => points.length > 1),
      x: {
        label: "batch size",
        logarithmic: true,
        ticks: [...new Set(marks.map(({ x }) => x))],
      },
      y: { label, logarithmic: true },
      caption: this.machine
        ? ""
        : "This server has no results of convoy compare. The chart shows its own runs, and the measurements made at export.",
    };
  }

  scores(scores, mark) {
    return scores.filter(isShown).map((score) => ({
      ...named(score),
      hollow: score.others,
      isNamed: true,
      ...mark(score),
    }));
  }

  note() {
    const chosen = this.chosen();
    if (!chosen) return "No model here states its accuracy.";
    return chosen.published
      ? `Top-1 is ${chosen.title}; hollow marks are for other weights than those served here.`
      : `Top-1 was ${chosen.title}.`;
  }
}

/** Return whether the user has not hidden the family of a network. */
const isShown = ({ architecture }) => !kept.hidden.has(family(architecture).name);

const named = ({ name, architecture }) => ({ name, family: family(architecture).index });

const spans = (values) => Math.max(...values) > 30 * Math.min(...values);
