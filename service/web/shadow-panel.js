/** A shadow: the comparison of the version that serves with its shadow. */

import { askJson, Refused } from "./api.js";
import { el, hiddenCard } from "./dom.js";
import { duration, percent, rounded, whole } from "./format.js";
import { scrollTable, textRow } from "./table.js";

const SHARE = "convoy_shadow_share";

/** Rows of both versions: the fields of the version that serves and of the shadow, and the format. */
const BOTH = {
  "run, p50": ["serving_run_p50_seconds", "run_p50_seconds", duration],
  "run, p99": ["serving_run_p99_seconds", "run_p99_seconds", duration],
};

/** Rows of the comparison: the field, and its format. */
const COMPARED = {
  "same top-1": ["agreement", percent],
  "failures of the shadow": ["failures", percent],
  "largest change of a probability, mean": ["probability_change", rounded],
  "KL divergence, mean, nats": ["kl_divergence", rounded],
};

/** Return whether the metrics name a shadow of a model. */
export const hasShadow = (metrics, model) =>
  (metrics.get(SHARE) ?? []).some(({ labels }) => labels.model === model);

/** Read the comparison of a model with its shadow; null if the shadow has been stopped. */
export async function readShadow(model, signal) {
  try {
    return await askJson(`v1/models/${encodeURIComponent(model)}/shadow`, { signal });
  } catch (error) {
    if (error instanceof Refused && error.reason === "NO_SHADOW") return null;
    throw error;
  }
}

/** A card that is hidden unless the model has a shadow. */
export class ShadowPanel {
  constructor() {
    this.content = el("div");
    this.card = hiddenCard("shadow", "Shadow", this.content);
  }

  /** Show a comparison; null hides the card. */
  draw(shadow) {
    this.card.hidden = !shadow;
    if (shadow) this.content.replaceChildren(...shown(shadow));
  }
}

function shown(shadow) {
  const { version, serving_version: serving, share, dropped_image_count: dropped } = shadow;
  const dropping = Number(dropped)
    ? ` ${whole(dropped)} images were dropped because the device was busy.`
    : "";
  return [
    el(
      "p",
      { class: "muted" },
      `Version ${version} gets ${rounded(100 * share)} % of the requests after version ${serving} has answered them.${dropping}`,
    ),
    scrollTable(
      "Both versions",
      ["measure", `version ${serving}, serves`, `version ${version}, shadow`],
      Object.entries(BOTH).map(([name, [served, shadowed, format]]) =>
        textRow(name, [estimate(shadow[served], format), estimate(shadow[shadowed], format)]),
      ),
    ),
    scrollTable(
      "Comparison",
      ["measure", "value", "95 % interval", "images"],
      Object.entries(COMPARED).map(([name, [measure, format]]) => {
        const found = shadow[measure];
        if (!found) return textRow(name, ["–", "", "0"]);
        const interval = `${format(found.low)} – ${format(found.high)}`;
        return textRow(name, [format(found.value), interval, whole(found.count)]);
      }),
    ),
  ];
}

const estimate = (found, format) =>
  found ? `${format(found.value)} (${format(found.low)} – ${format(found.high)})` : "–";
