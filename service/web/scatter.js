/** Charts of points, balls and lines in SVG, each mark with its words: by pointer, touch or keyboard. */

import { el, svg } from "./dom.js";
import { rounded } from "./format.js";

const HEIGHT = 380;
const MARGIN = { top: 14, right: 16, bottom: 46, left: 58 };
const LETTER = 6.6;

/**
 * Draw a chart into *place*, anew whenever its width changes.
 *
 * `marks` are `{x, y, radius, family, hollow, name, words}`; `lines` connect points and are
 * `{points, family, name}`; `x` and `y` are `{label, logarithmic, bounds, ticks, range}`: the values
 * that are possible, those that are marked, and the axis' ends; all three are optional.
 */
export function chart(place, { title, x, y, marks, lines = [] }) {
  const tip = el("div", { class: "tip", role: "status", hidden: true });
  const draw = () => {
    const width = Math.max(280, place.clientWidth);
    const scales = {
      x: scale(
        marks.map((mark) => mark.x),
        MARGIN.left,
        width - MARGIN.right,
        x,
      ),
      y: scale(
        marks.map((mark) => mark.y),
        HEIGHT - MARGIN.bottom,
        MARGIN.top,
        y,
      ),
    };
    const drawing = svg("svg", {
      viewBox: `0 0 ${width} ${HEIGHT}`,
      width,
      height: HEIGHT,
      role: "group",
      "aria-label": title,
    });
    drawing.append(axes(scales, width, x.label, y.label), ...lines.map((one) => path(one, scales)));
    drawing.append(...balls(marks, scales, width, tip));
    place.replaceChildren(drawing, tip);
  };
  let width = 0;
  new ResizeObserver(() => {
    if (place.clientWidth !== width) draw();
    width = place.clientWidth;
  }).observe(place);
}

function scale(values, from, to, { logarithmic, bounds = [-Infinity, Infinity], ticks, range }) {
  const bend = logarithmic ? Math.log10 : (value) => value;
  const [low, high] = [Math.min(...values), Math.max(...values)].map(bend);
  const room = 0.08 * (high - low) || (logarithmic ? 0.3 : Math.abs(high) * 0.1 || 1);
  const [first, last] = range ?? [
    Math.max(low - room, bounds[0]),
    Math.min(high + room, bounds[1]),
  ];
  const at = (value) => from + ((bend(value) - first) / (last - first)) * (to - from);
  return { at, ticks: ticks ?? (logarithmic ? powers(first, last) : steps(first, last)) };
}

function steps(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const count = Math.floor(high / step) - Math.ceil(low / step) + 1;
  return Array.from({ length: count }, (_, index) => (Math.ceil(low / step) + index) * step);
}

function powers(low, high) {
  const factors = high - low > 3 ? [1] : high - low > 1.5 ? [1, 3] : [1, 2, 5];
  const exponents = Array.from(
    { length: Math.ceil(high) - Math.floor(low) + 1 },
    (_, index) => Math.floor(low) + index,
  );
  const all = exponents.flatMap((exponent) => factors.map((factor) => factor * 10 ** exponent));
  return all.filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
}

function axes({ x, y }, width, xLabel, yLabel) {
  const bottom = HEIGHT - MARGIN.bottom;
  const line = (x1, y1, x2, y2) => svg("line", { x1, y1, x2, y2 });
  const text = (value, attributes) => svg("text", attributes, value);
  return svg(
    "g",
    { class: "axes", "aria-hidden": "true" },
    x.ticks
      .map((tick) => [
        line(x.at(tick), MARGIN.top, x.at(tick), bottom),
        text(rounded(tick), { x: x.at(tick), y: bottom + 16, "text-anchor": "middle" }),
      ])
      .flat(),
    y.ticks
      .map((tick) => [
        line(MARGIN.left, y.at(tick), width - MARGIN.right, y.at(tick)),
        text(rounded(tick), { x: MARGIN.left - 8, y: y.at(tick) + 4, "text-anchor": "end" }),
      ])
      .flat(),
    text(xLabel, {
      x: (MARGIN.left + width - MARGIN.right) / 2,
      y: HEIGHT - 8,
      "text-anchor": "middle",
      class: "axis-label",
    }),
    text(yLabel, {
      x: -(MARGIN.top + bottom) / 2,
      y: 14,
      transform: "rotate(-90)",
      "text-anchor": "middle",
      class: "axis-label",
    }),
  );
}

function path({ points, family, name }, { x, y }) {
  const d = points
    .map((point, index) => `${index ? "L" : "M"}${x.at(point.x)},${y.at(point.y)}`)
    .join("");
  return svg("path", { d, class: `line family-${family}`, "data-name": name });
}

/** The marks, the largest below; names are written where there is room. */
function balls(marks, { x, y }, width, tip) {
  const placed = marks.map((mark) => ({ ...mark, cx: x.at(mark.x), cy: y.at(mark.y) }));
  placed.sort((one, other) => other.radius - one.radius);
  const circles = placed.map((mark) => circle(mark, tip));
  const taken = placed.map(({ cx, cy, radius }) => [
    cx - radius,
    cy - radius,
    cx + radius,
    cy + radius,
  ]);
  const names = placed.filter(({ isNamed }) => isNamed).map((mark) => label(mark, taken, width));
  return [...circles, ...names];
}

function circle(mark, tip) {
  const { cx, cy, radius, family, hollow, words } = mark;
  const show = () => {
    tip.replaceChildren(...words.map((line, index) => el(index ? "div" : "strong", {}, line)));
    tip.hidden = false;
    const left = Math.min(
      Math.max(0, cx - tip.offsetWidth / 2),
      tip.parentElement.clientWidth - tip.offsetWidth,
    );
    const above = cy - radius - tip.offsetHeight - 8;
    tip.style.setProperty("left", `${left}px`);
    tip.style.setProperty("top", `${above < 0 ? cy + radius + 8 : above}px`);
  };
  const hide = () => (tip.hidden = true);
  return svg("circle", {
    ...{ cx, cy, r: radius, class: `mark family-${family}${hollow ? " hollow" : ""}` },
    ...{ tabindex: "0", role: "img", "aria-label": words.join(", ") },
    ...{ pointerenter: show, pointerleave: hide, focus: show, blur: hide },
  });
}

const SIDES = [
  [1, 0, "start"],
  [-1, 0, "end"],
  [0, -1, "middle"],
  [0, 1, "middle"],
];

function label({ cx, cy, radius, name }, taken, width) {
  const long = LETTER * name.length;
  const boxes = SIDES.map(([right, down, anchor]) => {
    const at = { x: cx + right * (radius + 4), y: cy + 4 + down * (radius + 10), anchor };
    const left = { start: at.x, end: at.x - long, middle: at.x - long / 2 }[anchor];
    return { ...at, box: [left, at.y - 11, left + long, at.y + 3] };
  });
  const covered = ({ box }) =>
    taken.reduce((sum, other) => sum + overlap(box, other), 0) +
    (box[0] < MARGIN.left || box[2] > width || box[1] < 0 ? 1000 : 0);
  const best = boxes.reduce((least, one) => (covered(one) < covered(least) ? one : least));
  if (covered(best) > 60) return ""; // its words come with the pointer
  taken.push(best.box);
  return svg(
    "text",
    { x: best.x, y: best.y, "text-anchor": best.anchor, class: "mark-name", "aria-hidden": "true" },
    name,
  );
}

function overlap([left, top, right, bottom], [otherLeft, otherTop, otherRight, otherBottom]) {
  const wide = Math.min(right, otherRight) - Math.max(left, otherLeft);
  const high = Math.min(bottom, otherBottom) - Math.max(top, otherTop);
  return wide > 0 && high > 0 ? wide * high : 0;
}
