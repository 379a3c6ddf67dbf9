/** Loading, unloading and shadows of models, for those whose token allows it. */

import { askJson } from "./api.js";
import { el } from "./dom.js";
import { explain } from "./errors.js";
import { percent } from "./format.js";

/** The share of requests that a shadow gets; another one is chosen by `convoy shadow`. */
const SHARE = 0.1;

/**
 * Buttons for a version of the index, and what became of the last request; `changed` is called after
 * it. With `isServed`, a version of the model answers.
 */
export function controlOf(entry, isServed, changed) {
  const problem = el("div");
  let isAsking = false;
  // A button that is disabled would lose the keyboard.
  const disable = (is) => {
    isAsking = is;
    for (const one of buttons) one.setAttribute("aria-disabled", String(is));
  };
  const button = ({ text, path, body, loss }) => {
    const ask = async () => {
      if (isAsking) return;
      disable(true);
      problem.replaceChildren(el("p", { class: "muted", role: "status" }, `${text} requested`));
      try {
        await askJson(path, {
          method: "POST",
          body: JSON.stringify(body),
          headers: { "content-type": "application/json" },
        });
        await changed();
        problem.replaceChildren();
      } catch (error) {
        problem.replaceChildren(explain(error, ask));
      }
      disable(false);
    };
    const click = loss ? () => confirm(box, text, loss, ask) : ask;
    return el("button", { type: "button", class: "small", click }, text);
  };
  const buttons = actionsOf(entry, isServed).map(button);
  const box = el("div", {}, el("div", { class: "row" }, buttons), problem);
  return box;
}

/** The requests that are offered for a version; those with a `loss` are confirmed first. */
function actionsOf({ name, version, state, reason }, isServed) {
  const repository = `v2/repository/models/${encodeURIComponent(name)}`;
  const shadow = `v1/models/${encodeURIComponent(name)}`;
  const own = { version: Number(version) };
  const loss = `Requests for ${name}, in any version, are refused until it is loaded again.`;
  const alone = {
    text: `Serve version ${version} alone`,
    path: `${repository}/load`,
    body: only(own.version),
  };
  if (!version) return [{ text: `Load ${name}`, path: `${repository}/load`, body: {} }];
  if (state === "READY")
    return [{ text: `Unload ${name}`, path: `${repository}/unload`, body: {}, loss }];
  if (reason === "shadow")
    return [
      { text: `Promote version ${version}`, path: `${shadow}/promote`, body: own },
      { text: "Stop the shadow", path: `${shadow}/shadow/stop`, body: {} },
    ];
  if (!isServed) return [alone];
  const start = { path: `${shadow}/shadow/start`, body: { ...own, share: SHARE } };
  return [alone, { text: `Shadow on ${percent(SHARE, 0)} of requests`, ...start }];
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
  const config = { version_policy: { specific: { versions: [version] } } };
  return { parameters: { config: JSON.stringify(config) } };
}
