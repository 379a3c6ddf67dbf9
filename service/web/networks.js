/** The networks that can be compared: facts of the artifacts, measurements, and published figures. */

import { askJson } from "./api.js";
import { served } from "./served.js";

/**
 * All networks with their figures, and the machine that `convoy compare` measured on, if it did.
 *
 * Without its measurements, times are those of the runs of this server, and memory is what export
 * measured at one batch size.
 */
export async function networks() {
  const [{ models }, comparison, { model_stats: statistics }] = await Promise.all([
    served(),
    askJson("page/comparison"),
    askJson("v2/models/stats"),
  ]);
  const compared = (comparison?.networks ?? []).map((network) =>
    fromComparison(network, comparison.machine),
  );
  const known = new Set(compared.map(({ name, version }) => `${name} ${version}`));
  const others = models
    .filter(({ manifest }) => !known.has(`${manifest.name} ${manifest.version}`))
    .map((model) => fromServer(model, statistics));
  const networks = withVersions([...compared, ...others]);
  return { networks, machine: comparison?.machine ?? null };
}

/** Name the versions of a model apart, so that no figure of one is taken for that of another. */
function withVersions(all) {
  const counts = new Map();
  for (const { name } of all) counts.set(name, (counts.get(name) ?? 0) + 1);
  return all.map((network) => {
    const { name, version } = network;
    return counts.get(name) > 1 ? { ...network, name: `${name} version ${version}` } : network;
  });
}

function fromComparison(network, machine) {
  const source = `convoy compare, ${machine.measured_at}, ${machine.processor}, ${machine.threads} threads`;
  return {
    ...network,
    batches: network.batches.map((batch) => ({
      size: batch.batch_size,
      ms: batch.ms_per_image,
      bytes: network.weights_bytes + batch.arena_peak_bytes,
      source,
    })),
  };
}

function fromServer({ manifest, provider }, statistics) {
  const { name, version, memory } = manifest;
  const mine = statistics.find((one) => one.name === name && one.version === String(version));
  const runs = (mine?.batch_stats ?? []).map(
    ({ batch_size: size, compute_infer: { count, ns } }) => ({
      size,
      ms: ns / count / size / 1e6,
      source: `${count} ${count === 1 ? "run" : "runs"} of this server, ${provider}`,
    }),
  );
  const exported = memory && {
    size: memory.batch_size,
    bytes: memory.weights_bytes + memory.arena_peak_bytes,
    source: "measured when the artifact was made",
  };
  const both = runs.find(({ size }) => size === exported?.size);
  if (both) Object.assign(both, { bytes: exported.bytes });
  return {
    name,
    version,
    architecture: manifest.architecture,
    precision: manifest.precision,
    input_px: manifest.input.height,
    parameters: manifest.parameter_count,
    macs: manifest.macs,
    evaluations: manifest.evaluations,
    published: null,
    batches: [...runs, ...(exported && !both ? [exported] : [])].sort(
      (one, other) => one.size - other.size,
    ),
  };
}

/** The batch of a network with the least time per image; null if no time is known. */
export const fastest = ({ batches }) =>
  batches
    .filter(({ ms }) => ms)
    .reduce((best, batch) => (best && best.ms <= batch.ms ? best : batch), null);

/** Return whether convoy measured this accuracy itself; otherwise somebody published it. */
export const isMeasured = ({ origin }) => origin === "measured";

/** The kind and the images of an accuracy: those with the same title can be compared. */
export const accuracyTitle = (evaluation) =>
  isMeasured(evaluation)
    ? `measured on ${evaluation.data}, ${evaluation.images.toLocaleString("en")} images${content(evaluation)}`
    : `published: ${evaluation.data}`;

/** The images of a folder, whose name other images may share. */
const content = ({ data, data_sha256: hash }) =>
  data.startsWith("folder:") && hash ? `, SHA-256 ${hash.slice(0, 12)}` : "";

/** The origin of an accuracy in words, as `Evaluation.attribution` in artifact/manifest.py. */
export function attribution({ origin, publisher, reference }) {
  if (!publisher) return origin;
  return `published by ${publisher}${reference ? `: ${reference}` : ""}`;
}

/**
 * Accuracies that may stand in one chart: one kind, on the same images; the most common first.
 *
 * Each is `{title, published, scores}`; a score is of these very weights, or (`others`) of other
 * weights of the architecture, with their parameters and operations.
 */
export function accuracies(all) {
  const found = new Map();
  for (const network of all) {
    for (const evaluation of network.evaluations) {
      const measured = isMeasured(evaluation);
      const title = accuracyTitle(evaluation);
      const list = found.get(title) ?? { title, published: !measured, scores: [] };
      list.scores.push(score(network, evaluation.top1, measured ? title : attribution(evaluation)));
      found.set(title, list);
    }
  }
  return [...found.values(), publishedOfOthers(all)]
    .filter(({ scores }) => scores.length)
    .sort((one, other) => other.scores.length - one.scores.length);
}

/** Return, once for each architecture, the published figures of weights other than those here. */
function publishedOfOthers(all) {
  const byArchitecture = new Map();
  for (const { architecture, published } of all)
    if (published)
      byArchitecture.set(architecture, {
        name: architecture,
        architecture,
        others: true,
        top1: published.top1,
        parameters: published.parameters,
        macs: published.macs,
        source: published.source,
      });
  return {
    title: "published on ImageNet, of other weights",
    published: true,
    scores: [...byArchitecture.values()],
  };
}

function score(network, top1, source) {
  const { name, architecture, parameters, macs } = network;
  return { name, architecture, parameters, macs, top1, source, others: false };
}

// Their colours (colors.css) are those of all figures: convoy/figures/families.py.
const FAMILIES = [
  ["LeNet", ["lenet"]],
  ["AlexNet", ["alexnet"]],
  ["VGG", ["vgg"]],
  ["NIN", ["nin"]],
  ["GoogLeNet, Inception", ["googlenet", "inception"]],
  ["Plain", ["plain"]],
  ["ResNet", ["resnet"]],
];

/** The family of an architecture, as `{name, index}`; the index names its colour. */
export function family(architecture) {
  const parts = architecture.toLowerCase().split("_");
  const index = FAMILIES.findIndex(([, starts]) =>
    parts.some((part) => starts.some((start) => part.startsWith(start))),
  );
  return { name: FAMILIES[index]?.[0] ?? "other", index: index < 0 ? FAMILIES.length : index };
}
