/** The address of what is shown: `#VIEW?NAME=VALUE&...`, which can be kept and sent. */

import { el } from "./dom.js";

/** The view that the address names, and its parameters. */
export function address() {
  const [view, query] = location.hash.slice(1).split("?");
  return { view, parameters: new URLSearchParams(query) };
}

/** The address of a view with these parameters; those that are empty are left out. */
export function addressOf(view, parameters) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
  return query.size ? `#${view}?${query}` : `#${view}`;
}

/** A line that says what the address names and the server or the page does not have. */
export function unknown(text = "") {
  return el("p", { class: "warning", role: "status", hidden: !text }, text);
}

/** Let the address name what is shown now; nothing is opened anew. */
export function point(view, parameters) {
  history.replaceState(null, "", addressOf(view, parameters));
}
