/** Explains errors to people: the problem and the remedy, by the reasons of service/errors.py. */

import { Refused, Unreachable } from "./api.js";
import { el } from "./dom.js";
import { forgetToken } from "./token.js";

const TITLES = {
  IMAGE_TOO_LARGE: "The image is too large",
  REQUEST_TOO_LARGE: "The image is too large",
  INVALID_IMAGE: "The server cannot read this file",
  MODEL_NOT_FOUND: "The server does not have this model",
  MODEL_NOT_READY: "The model is not ready yet",
  QUEUE_FULL: "The queue is full",
  DEADLINE_UNMEETABLE: "The queue is too long",
  SHUTTING_DOWN: "The server is shutting down",
  SCORES_NOT_FINITE: "The model returned no valid scores for this image",
  UNAUTHENTICATED: "Token required",
  PERMISSION_DENIED: "Your token does not allow this",
  HOST_NOT_ALLOWED: "The server does not accept this host name",
  ORIGIN_NOT_ALLOWED: "The server refuses requests from other sites",
  UNSUPPORTED: "Not supported",
};

const ADVICE = {
  MODEL_NOT_FOUND: "The model was unloaded or replaced. This page updates within seconds.",
  SCORES_NOT_FINITE: "Send another image, or ask the server's operator to check the model.",
  SHUTTING_DOWN: "This page continues when the server is back.",
  MODEL_NOT_READY: "This page retries when the model is loaded.",
};

const ABOUT_TOKENS = new Set(["UNAUTHENTICATED", "PERMISSION_DENIED"]);

/** A box that says what went wrong; with `again`, a button to try once more. */
export function explain(error, again) {
  if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
  const title = error instanceof Unreachable ? "The server does not respond" : TITLES[error.reason];
  const box = el(
    "div",
    { class: "problem", role: "alert" },
    el("strong", {}, title ?? "The request failed"),
    el("p", {}, message(error)),
    ADVICE[error.reason] ? el("p", { class: "muted" }, ADVICE[error.reason]) : null,
  );
  if (again)
    box.append(ABOUT_TOKENS.has(error.reason) ? otherToken(again) : tryAgain(error, again));
  return box;
}

function message(error) {
  if (error instanceof Unreachable) return "This page continues when the server is back.";
  // The server names the call, which only programs know.
  const [, right] = /needs a token with the right (\w+)$/.exec(error.message) ?? [];
  return right ? `This needs a token with the right "${right}".` : error.message;
}

function otherToken(again) {
  const click = () => {
    forgetToken();
    again();
  };
  return el("button", { type: "button", class: "small", click }, "Use another token");
}

/** A button that works when the time is over that the server asked to wait. */
function tryAgain({ retryAfterS }, again) {
  const button = el(
    "button",
    { type: "button", class: "small", click: () => again() },
    "Try again",
  );
  const count = (left) => {
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left > 0) setTimeout(count, 1000, left - 1);
  };
  count(Math.ceil(retryAfterS ?? 0));
  return button;
}
