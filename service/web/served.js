/** What the server says of its models. */

import { askJson } from "./api.js";

/** The models that answer, by name and version, and the port that gRPC listens on. */
export async function served() {
  const { grpc_port: grpcPort, models } = await askJson("page/models");
  const newest = new Map(models.map(({ manifest }) => [manifest.name, manifest.version]));
  for (const model of models) {
    const { name, version } = model.manifest;
    model.path = `v2/models/${encodeURIComponent(name)}/versions/${version}`;
    model.page = `page/models/${encodeURIComponent(name)}/versions/${version}`;
    model.isNewest = newest.get(name) === version;
    model.title = model.isNewest ? name : `${name} version ${version}`;
  }
  return { grpcPort, models };
}
