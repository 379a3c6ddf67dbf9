/** The models of the server, as it describes them. */

import { askJson, Refused, Unreachable } from "./api.js";

const FOLLOW_MS = 5000;

/** The models that answer, by name and version; the port of gRPC; the most bytes of an image; whether models can be loaded. */
export async function served() {
  const answer = await askJson("page/models");
  const {
    grpc_port: grpcPort,
    max_image_bytes: maxImageBytes,
    can_control: canControl,
    models,
  } = answer;
  const newest = new Map(models.map(({ manifest }) => [manifest.name, manifest.version]));
  for (const model of models) {
    const { name, version } = model.manifest;
    model.path = `v2/models/${encodeURIComponent(name)}/versions/${version}`;
    model.page = `page/models/${encodeURIComponent(name)}/versions/${version}`;
    model.isNewest = newest.get(name) === version;
    // The newest version is asked for by its name alone: its successor is the same choice.
    model.key = model.isNewest ? name : model.path;
    model.title = model.isNewest ? name : `${name} version ${version}`;
  }
  return { grpcPort, maxImageBytes, canControl, models };
}

/** Call `changed` with the same, now and whenever other models or versions answer. */
export function followServed(signal, changed) {
  const identity = ({ models }) =>
    models.map(({ path, manifest }) => `${path} ${manifest.model_sha256}`).join();
  return follow(signal, served, identity, changed);
}

/**
 * Call `changed` with what `read` returns, now and whenever its `identity` is another one; it may be
 * asynchronous, and is called again if it failed.
 *
 * Raises what the first request does. Later the header tells if the server is gone.
 */
export async function follow(signal, read, identity, changed) {
  let before = null;
  const look = async () => {
    const found = await read();
    const now = identity(found);
    if (signal.aborted || now === before) return;
    await changed(found);
    before = now;
  };
  await look();
  if (signal.aborted) return; // meanwhile: its event is over
  const timer = setInterval(async () => {
    if (document.hidden) return;
    try {
      await look();
    } catch (error) {
      // The server wants another token: ask for it once, not every few seconds.
      if ([401, 403].includes(error.status)) clearInterval(timer);
      // It is gone or busy: look again.
      else if (!(error instanceof Unreachable || error instanceof Refused)) throw error;
    }
  }, FOLLOW_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}
