/** Talks to the server: every request of the page leaves here, with the token if there is one. */

import { connection } from "./connection.js";
import { askForToken, token } from "./token.js";

/** The server refused, and said why. */
export class Refused extends Error {
  constructor(status, reason, message, retryAfterS) {
    super(message);
    Object.assign(this, { status, reason, retryAfterS });
  }
}

/** The server did not answer. */
export class Unreachable extends Error {
  constructor() {
    super("The server does not respond.");
  }
}

/** Ask the server; raises `Refused` or `Unreachable`. */
export async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  const authorization = token() ? { authorization: `Bearer ${token()}` } : {};
  let response;
  try {
    response = await fetch(path, {
      method,
      body,
      signal,
      headers: { ...headers, ...authorization },
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    connection.lost();
    throw new Unreachable();
  }
  if (response.ok) return response;
  const refused = await read(response);
  if (response.status === 401 && (await askForToken(authorization.authorization)))
    return ask(path, { method, body, headers, signal });
  if (response.status === 503) connection.lost();
  throw refused;
}

/** Ask the server as above, and parse its JSON. */
export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

async function read(response) {
  const retryAfterS = Number(response.headers.get("retry-after")) || null;
  const told = await response.json().catch(() => ({})); // a proxy's answer may be anything
  return new Refused(
    response.status,
    told.reason ?? "",
    told.error ?? response.statusText,
    retryAfterS,
  );
}
