/** The page: which view is open, and what is said of the server above it. */

import { address, unknown } from "./address.js";
import * as compare from "./compare.js";
import { connection } from "./connection.js";
import { el } from "./dom.js";
import { explain } from "./errors.js";
import * as live from "./live.js";
import * as models from "./models.js";
import * as tryView from "./try.js";

/** The views; those that are not the first to be seen are loaded when they are opened. */
const VIEWS = {
  try: tryView,
  images: { open: async (...at) => (await import("./images/view.js")).open(...at) },
  live,
  compare,
  models,
};

const STATES = {
  connecting: "connecting",
  ready: "ready",
  loading: "not ready",
  gone: "no response",
};

const NOTICES = {
  loading: "The server is starting or shutting down. This page continues when the server is ready.",
  gone: "The server does not respond. This page retries every second and continues when the server is back.",
};

const main = document.getElementById("view");
let leave = null;

/** Open the view that the address names, anew if it is the one that is open. */
async function open() {
  const { view, parameters } = address();
  const name = Object.hasOwn(VIEWS, view) ? view : "try";
  leave?.abort();
  const mine = (leave = new AbortController());
  for (const link of document.querySelectorAll("nav a"))
    link.hash === `#${name}`
      ? link.setAttribute("aria-current", "page")
      : link.removeAttribute("aria-current");
  const link = document.querySelector(`nav a[href="#${name}"]`);
  document.title = `${link.textContent} · convoy`;
  const root = el("div");
  main.replaceChildren(root);
  if (view && view !== name) root.before(unknown(`This page has no view named ${view}.`));
  try {
    await VIEWS[name].open(root, mine.signal, parameters);
  } catch (error) {
    if (!mine.signal.aborted) root.replaceChildren(explain(error, open));
  }
}

function tell() {
  const status = document.getElementById("status");
  status.textContent = STATES[connection.state];
  status.dataset.state = connection.state;
  const notice = document.getElementById("notice");
  notice.textContent = NOTICES[connection.state] ?? "";
  notice.hidden = !notice.textContent;
}

connection.addEventListener("change", ({ detail }) => {
  tell();
  if (connection.state === "ready" && detail.before !== "connecting") open();
});
addEventListener("hashchange", open);
// The address names the view: the link moves the focus without a change of the address.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
tell();
connection.start();
open();
