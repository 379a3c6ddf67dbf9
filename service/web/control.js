/** Loading and unloading models, for those whose token allows it. */

import { askJson } from "./api.js";
import { el } from "./dom.js";
import { explain } from "./errors.js";

/** Buttons for a version of the index, and what became of the last request; `changed` is called after it. */
export function controlOf({ name, version, state }, changed) {
  const problem = el("div");
  const button = (text, action, body, loss = "") => {
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
    const click = loss ? () => confirm(box, text, loss, ask) : ask;
    return el("button", { type: "button", class: "small", click }, text);
  };
  const loss = `Requests for ${name}, in any version, are refused until it is loaded again.`;
  const buttons =
    state === "READY"
      ? [button(`Unload ${name}`, "unload", {}, loss)]
      : [button(`Serve version ${version} alone`, "load", only(version))];
  if (!version) buttons.splice(0, 1, button(`Load ${name}`, "load", {}));
  const box = el("div", {}, el("div", { class: "row" }, buttons), problem);
  return box;
}

/** Open a dialog inside `box`, with which it goes, and call `act` if the user confirms the loss. */
function confirm(box, text, loss, act) {
  const close = () => {
    dialog.remove();
    if (dialog.returnValue === "confirmed") act();
  };
  const dialog = el(
    "dialog",
    { "aria-labelledby": "confirm-title", close },
    el(
      "form",
      { method: "dialog" },
      el("h2", { id: "confirm-title" }, `${text}?`),
      el("p", {}, loss),
      el(
        "div",
        { class: "row" },
        el("button", { class: "primary", value: "confirmed" }, text),
        el("button", { autofocus: true }, "Cancel"),
      ),
    ),
  );
  box.append(dialog);
  dialog.showModal();
}

/** A load of this version in place of the others: back to an older one, or on to a newer one. */
function only(version) {
  const config = { version_policy: { specific: { versions: [Number(version)] } } };
  return { parameters: { config: JSON.stringify(config) } };
}
