/** The reliability curve: how often answers of a confidence are right. */

import { el } from "../dom.js";
import { percent, whole } from "../format.js";
import { chart } from "../scatter.js";

/** Below the diagonal a network is more confident than right. */
export function reliabilityChart({ ece, bins }, title) {
  const place = el("div", { class: "scatter" });
  const points = bins.map(({ confidence, accuracy }) => ({
    x: 100 * confidence,
    y: 100 * accuracy,
  }));
  const most = Math.max(...bins.map(({ images }) => images));
  const axis = { range: [0, 100] };
  chart(place, {
    title: `Reliability of ${title}`,
    x: { label: "confidence (%)", ...axis },
    y: { label: "right answers (%)", ...axis },
    lines: [
      {
        points: [
          { x: 0, y: 0 },
          { x: 100, y: 100 },
        ],
        family: 7,
        name: "as confident as right",
      },
      { points, family: 0, name: title },
    ],
    marks: points.map((point, index) => ({
      ...point,
      family: 0,
      radius: 3 + 7 * Math.sqrt(bins[index].images / most),
      words: [
        `${whole(bins[index].images)} images`,
        `confidence ${percent(bins[index].confidence)}`,
        `right ${percent(bins[index].accuracy)}`,
      ],
    })),
  });
  return el(
    "div",
    {},
    el("h3", {}, "Reliability"),
    place,
    el(
      "p",
      { class: "muted caption" },
      `Below the diagonal, the network is more confident than right. ECE ${ece.toFixed(4)}.`,
    ),
  );
}
