/** Lines over time, drawn by uPlot. */

import { el } from "./dom.js";
import { rounded } from "./format.js";

const LIBRARY = "./node_modules/uplot/dist/uPlot.esm.js";
const STYLE = "web/node_modules/uplot/dist/uPlot.min.css";

const HEIGHT = 180;

/** The library, with its style; null if it is not installed. */
export async function library() {
  try {
    const { default: uPlot } = await import(LIBRARY);
    if (!document.querySelector(`link[href="${STYLE}"]`))
      document.head.append(el("link", { rel: "stylesheet", href: STYLE }));
    return uPlot;
  } catch (error) {
    if (error instanceof TypeError) return null; // it could not be fetched
    throw error;
  }
}

/** A chart in a panel of its own, until `signal` is aborted. */
export class LineChart {
  #uPlot;
  #chart = null;
  #names = "";

  constructor(uPlot, title, unit, { signal, logarithmic = false }) {
    this.#uPlot = uPlot;
    this.title = title;
    this.unit = unit;
    this.logarithmic = logarithmic;
    this.place = el("div", { class: "chart", role: "img" });
    this.legend = el("ul", { class: "legend" });
    this.panel = el(
      "section",
      { class: "card panel" },
      el("h2", {}, title),
      el("p", { class: "muted" }, unit),
      this.place,
      this.legend,
    );
    new ResizeObserver(() => this.#chart?.setSize(this.#size())).observe(this.place);
    const forget = () => this.#forget();
    // Both would keep the chart after its view: the listeners of the page, and those of uPlot.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", forget, { signal });
    signal.addEventListener("abort", forget);
  }

  /** Draw series, `{name, values}` each, over *times* in seconds since 1970: so many *seconds*. */
  draw(times, series, seconds) {
    this.seconds = seconds;
    const names = series.map(({ name }) => name).join();
    if (names !== this.#names) this.#forget();
    this.#names = names;
    const data = [times, ...series.map(({ values }) => values)];
    if (this.#chart) this.#chart.setData(data);
    else this.#chart = new this.#uPlot(this.#options(series), data, this.place);
    this.#describe(series);
  }

  #forget() {
    this.#chart?.destroy();
    this.#chart = null;
  }

  #size() {
    return { width: Math.max(200, this.place.clientWidth), height: HEIGHT };
  }

  #options(series) {
    const style = getComputedStyle(document.documentElement);
    const axis = {
      stroke: style.getPropertyValue("--muted"),
      grid: { stroke: style.getPropertyValue("--line"), width: 1 },
      ticks: { show: false },
    };
    const sparse = (_, ticks) => (this.logarithmic ? ticks.map(powerOfTen) : ticks);
    const y = this.logarithmic
      ? { distr: 3 }
      : { range: (_, low, high) => [0, high > 0 ? 1.1 * high : 1] };
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: { y: false },
      scales: { x: { range: (_, low, high) => [high - this.seconds, high] }, y },
      axes: [
        { ...axis, space: 60, size: 30, values: (_, ticks) => ticks.map(clock) },
        {
          ...axis,
          size: 52,
          filter: sparse,
          grid: { ...axis.grid, filter: sparse },
          values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : rounded(tick))),
        },
      ],
      series: [
        {},
        ...series.map(({ name, phase }, index) => ({
          label: name,
          stroke: style.getPropertyValue(color(phase, index)),
          width: 1.5,
          points: { size: 4 },
        })),
      ],
      hooks: { setCursor: [({ cursor }) => this.#tell(cursor.idx)] },
    };
  }

  /** The legend has the values under the cursor, else the newest. */
  #describe(series) {
    this.series = series;
    this.#tell(null);
    const told = series.map(({ name, values }) => `${name} ${text(values.at(-1))}`).join(", ");
    this.place.setAttribute("aria-label", `${this.title}, ${this.unit}: ${told || "nothing yet"}`);
  }

  #tell(index) {
    this.legend.replaceChildren(
      ...(this.series ?? []).map(({ name, values, phase }, place) =>
        el(
          "li",
          {},
          el("span", { class: "key", style: { background: `var(${color(phase, place)})` } }),
          name,
          " ",
          el("b", {}, text(values.at(index ?? -1))),
        ),
      ),
    );
    if (!this.series?.length) this.legend.append(el("li", { class: "muted" }, "none"));
  }
}

const color = (phase, index) => (phase ? `--${phase}` : `--series-${index % 6}`);
const powerOfTen = (value) => (Number.isInteger(Math.log10(value)) ? value : null);
const clock = (time) =>
  new Date(1000 * time).toLocaleTimeString([], {
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
  });
const text = (value) => (value === null || value === undefined ? "–" : rounded(value));
