/** Live: what the server did in the last ten minutes, model by model, moving. */

import { point, unknown } from "./address.js";
import { bars, el } from "./dom.js";
import { DriftPanel } from "./drift-panel.js";
import { explain } from "./errors.js";
import { duration, megabytes, percent, rounded, whole } from "./format.js";
import { History, PHASES } from "./history.js";
import { LiveTable } from "./live-table.js";
import { LineChart, library } from "./line-chart.js";
import { readMetrics } from "./metrics.js";
import { hasShadow, readShadow, ShadowPanel } from "./shadow-panel.js";

/** Samples of the history per reading of the metrics, which costs the server more. */
const WATCHED_EVERY = 5;
const OTHERWISE_EVERY = 30;

/** Metrics that exist only if their panels have something to show. */
const WATCHED = ["convoy_drift_psi", "convoy_shadow_share"];

/** Kept while other views are open: only what is new is asked for. */
const history = new History();

/** The model that somebody chose; until then it is the busiest. */
let chosen = "";

/** Open the view; it moves until *signal* is aborted. */
export async function open(root, signal, parameters) {
  chosen = parameters.get("model") ?? chosen;
  point("live", { model: chosen });
  await history.read(signal);
  const chart = await library();
  const view = new Live(root, chart, await readMetrics(signal), signal);
  view.draw();
  await view.readShadow(signal);
  let turns = 0;
  let isReading = false;
  const turn = async () => {
    // A second reading of the same samples would be taken for a gap.
    if (document.hidden || isReading) return;
    isReading = true;
    try {
      await history.read(signal);
      turns += 1;
      if (turns % view.metricsEvery === 0) {
        view.metrics = await readMetrics(signal);
        await view.readShadow(signal);
      }
      view.draw();
      view.tell(null);
    } catch (error) {
      if (signal.aborted) return;
      // The server wants another token: ask for it once, not every few seconds.
      if ([401, 403].includes(error.status)) clearInterval(timer);
      view.tell(error);
    } finally {
      isReading = false;
    }
  };
  const timer = setInterval(turn, history.intervalS * 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

class Live {
  constructor(root, chart, metrics, signal) {
    this.metrics = metrics;
    this.select = el("select", {
      id: "live-model",
      change: ({ target }) => this.choose(target.value),
    });
    this.unknown = unknown();
    this.problem = el("div", { hidden: true });
    this.tiles = el("dl", { class: "tiles" });
    this.batches = el("div");
    this.table = new LiveTable((model) => this.choose(model));
    this.drift = new DriftPanel();
    this.shadow = new ShadowPanel();
    const charts = chart ? makeCharts(chart, signal) : {};
    this.charts = charts;
    root.className = "live";
    root.append(
      el(
        "div",
        { class: "row controls" },
        el("label", { for: "live-model" }, "Model"),
        this.select,
        el("span", { class: "muted" }, "last ten minutes"),
      ),
      this.unknown,
      this.problem,
      this.tiles,
      this.table.table,
      this.drift.card,
      this.shadow.card,
      chart
        ? ""
        : el(
            "p",
            { class: "problem" },
            el("strong", {}, "The chart library is not installed"),
            " — run ",
            el("code", {}, "make page"),
            " on the server's machine. The current figures are shown without it.",
          ),
      el(
        "div",
        { class: "panels" },
        Object.values(charts).map((one) => one.panel),
        el(
          "section",
          { class: "card panel" },
          el("h2", {}, "Batch sizes"),
          el("p", { class: "muted" }, "share of runs"),
          this.batches,
        ),
      ),
    );
  }

  /** Say why the figures are not the newest; null if they are. */
  tell(error) {
    this.problem.hidden = !error;
    // The same problem is not announced anew with every reading.
    if (error?.message !== this.told) this.problem.replaceChildren(error ? explain(error) : "");
    this.told = error?.message;
  }

  /** Samples until the metrics are read again; a shadow may start at any time. */
  get metricsEvery() {
    return WATCHED.some((name) => this.metrics.has(name)) ? WATCHED_EVERY : OTHERWISE_EVERY;
  }

  /** Show the shadow of the model, if it has one. */
  async readShadow(signal) {
    this.signal = signal;
    const { model } = this;
    const shadow = hasShadow(this.metrics, model) ? await readShadow(model, signal) : null;
    if (model === this.model) this.shadow.draw(shadow);
  }

  choose(model) {
    chosen = model;
    point("live", { model });
    this.draw();
    this.shadow.draw(null);
    this.readShadow(this.signal).catch((error) => this.signal.aborted || this.tell(error));
  }

  draw() {
    const { models } = history;
    this.model = models.includes(chosen) ? chosen : history.busiest;
    if ([...this.select.options].map(({ value }) => value).join() !== models.join())
      this.select.replaceChildren(...models.map((name) => el("option", { value: name }, name)));
    this.select.value = this.model;
    this.unknown.hidden = !chosen || chosen === this.model || !models.length;
    this.unknown.textContent = `The last ten minutes have no model named ${chosen}. The busiest is shown: ${this.model}.`;
    const series = this.series();
    this.drawTiles(series);
    this.table.draw(history);
    this.drift.draw(this.metrics, this.model);
    this.drawBatches();
    const seconds = history.length * history.intervalS;
    for (const [name, chart] of Object.entries(this.charts))
      chart.draw(history.times, series[name], seconds);
  }

  series() {
    const ms = (values) => values.map((value) => value && value * 1000);
    const of = (phase, share) => ms(history.quantile(this.model, phase, share));
    return {
      requests: [
        { name: "requests", values: history.requests(this.model) },
        { name: "images", values: history.images(this.model) },
      ],
      latency: [
        { name: "p50", values: ms(history.latency(this.model, 0.5)) },
        { name: "p99", values: ms(history.latency(this.model, 0.99)) },
      ],
      median: PHASES.map((phase) => ({ name: phase, values: of(phase, 0.5), phase })),
      slowest: PHASES.map((phase) => ({ name: phase, values: of(phase, 0.99), phase })),
      queue: [{ name: "images waiting", values: history.queueDepth(this.model) }],
      failed: history.failed(this.model).map(({ key, values }) => ({ name: key, values })),
      rejected: history.rejected(this.model).map(({ key, values }) => ({ name: key, values })),
      devices: [
        { name: "processors", values: history.processors() },
        ...history.gpus().map((values, gpu) => ({ name: `GPU ${gpu}`, values })),
      ],
      memory: history.memory().map(({ kind, values }) => ({
        name: kind.replaceAll("_", " "),
        values: values.map((value) => value && value / 1e6),
      })),
    };
  }

  drawTiles({ devices, requests, latency, queue, failed, memory }) {
    const last = (one) => one?.values.at(-1);
    const time = (one) => (last(one) ? duration(last(one) / 1000) : "–");
    const share = (value) => (Number.isFinite(value) ? percent(value, 0) : "–");
    const tile = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
    this.tiles.replaceChildren(
      tile("requests/s", rounded(last(requests[0]) ?? 0)),
      tile("images/s", rounded(last(requests[1]) ?? 0)),
      tile("p50", time(latency[0])),
      tile("p99", time(latency[1])),
      tile("queue", whole(last(queue[0]) ?? 0)),
      tile("failed/s", rounded(failed.reduce((sum, one) => sum + last(one), 0))),
      ...devices.map((one) =>
        tile(one.name, one.name === "processors" ? rounded(last(one) ?? 0) : share(last(one))),
      ),
      tile(
        "resident",
        megabytes((last(memory.find(({ name }) => name === "resident")) ?? 0) * 1e6),
      ),
    );
  }

  drawBatches() {
    const found = history.batches(this.model);
    const runs = found.reduce((sum, { count }) => sum + count, 0);
    const largest = found.findLastIndex(({ count }) => count);
    const rows = found.slice(0, Math.max(6, largest + 1)).map(({ size, count }, index) => {
      const from = (found[index - 1]?.size ?? 0) + 1;
      const name =
        from === size ? String(size) : size === Infinity ? `${from}+` : `${from}–${size}`;
      return { name, share: runs ? count / runs : 0, text: runs ? percent(count / runs) : "–" };
    });
    this.batches.replaceChildren(bars(rows, `Runs by batch size, of ${whole(runs)}`));
  }
}

function makeCharts(uPlot, signal) {
  const line = (title, unit, options) => new LineChart(uPlot, title, unit, { signal, ...options });
  return {
    requests: line("Requests and images", "per second"),
    latency: line("Latency, including failed requests", "ms"),
    median: line("Phases, p50", "ms", { logarithmic: true }),
    slowest: line("Phases, p99", "ms", { logarithmic: true }),
    queue: line("Queue depth", "images"),
    failed: line("Failed requests, by code", "per second"),
    rejected: line("Rejected requests, by reason", "per second"),
    devices: line("Processor and GPU", "processors in use; share of the time that a GPU is used"),
    memory: line("Memory", "MB"),
  };
}
