/** Loading and unloading models, for those whose token allows it. */

import { askJson } from "./api.js";
import { el } from "./dom.js";
import { explain } from "./errors.js";

/** Buttons for a version of the index, and what became of the last request; `changed` is called after it. */
export function controlOf({ name, version, state }, changed) {
  const problem = el("div");
  const button = (text, action, body) => {
    const ask = async () => {
      for (const one of buttons) one.disabled = true;
      problem.replaceChildren(el("p", { class: "muted", role: "status" }, `${text} requested`));
      try {
        await askJson(`v2/repository/models/${encodeURIComponent(name)}/${action}`, {
          method: "POST",
          body: JSON.stringify(body),
          headers: { "content-type": "application/json" },
        });
        await changed();
        problem.replaceChildren();
      } catch (error) {
        problem.replaceChildren(explain(error, ask));
      }
      for (const one of buttons) one.disabled = false;
    };
    return el("button", { type: "button", class: "small", click: ask }, text);
  };
  const buttons =
    state === "READY"
      ? [button(`Unload ${name}`, "unload", {})]
      : [button(`Serve version ${version} alone`, "load", only(version))];
  if (!version) buttons.splice(0, 1, button(`Load ${name}`, "load", {}));
  return el("div", {}, el("div", { class: "row" }, buttons), problem);
}

/** A load of this version in place of the others: back to an older one, or on to a newer one. */
function only(version) {
  const config = { version_policy: { specific: { versions: [Number(version)] } } };
  return { parameters: { config: JSON.stringify(config) } };
}
