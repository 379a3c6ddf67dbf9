/** The last ten minutes, as the server's samples tell them, made into series. */

import { askJson } from "./api.js";

/** Points of a rate or quantile look back over so many samples. */
const SMOOTH = 5;

/** Codes of failures that are not refusals. */
const UNREASONED = ["INTERNAL", "CANCELLED"];

export const PHASES = ["decode", "queue", "inference", "respond"];

/** The samples that were read so far; `read` gets those that are new. */
export class History {
  samples = [];
  #next = 0;
  #instance = null;

  async read(signal) {
    const answer = await askJson(`page/history?since=${this.#next}`, { signal });
    if (answer.instance !== this.#instance) {
      const startedAnew = this.#instance !== null;
      this.#instance = answer.instance;
      if (startedAnew) {
        this.#next = 0;
        this.samples = [];
        return this.read(signal);
      }
    }
    if (answer.first !== this.#next) this.samples = [];
    this.#next = answer.first + answer.samples.length;
    Object.assign(this, {
      intervalS: answer.interval_s,
      length: answer.length,
      latencyBuckets: answer.latency_buckets_s,
      batchBuckets: answer.batch_buckets,
    });
    const now = Date.now() / 1000;
    answer.samples.forEach((sample, index) => {
      sample.at = now - (answer.samples.length - 1 - index) * this.intervalS;
    });
    this.samples = [...this.samples, ...answer.samples].slice(-this.length);
  }

  get times() {
    return this.samples.map(({ at }) => at);
  }

  /** All models that samples name, by name; calls for none or for an unknown one are left out. */
  get models() {
    const names = this.samples.flatMap(({ models }) => Object.keys(models));
    return [...new Set(names)].filter((name) => name && name !== "unknown").sort();
  }

  /** The model that was asked most. */
  get busiest() {
    const asked = (model) =>
      this.samples.reduce((sum, { models }) => sum + total(models[model]?.requests), 0);
    const counts = new Map(this.models.map((model) => [model, asked(model)]));
    return this.models.reduce(
      (most, model) => (counts.get(model) > (counts.get(most) ?? -1) ? model : most),
      "",
    );
  }

  /** Requests per second of a model, all codes together. */
  requests(model) {
    return this.#rates((of) => total(of(model).requests));
  }

  /** Requests per second of a model that were not answered, by gRPC code. */
  failed(model) {
    return this.#rateBy(model, "requests").filter(({ key }) => key !== "OK");
  }

  /** Refusals per second of a model, by reason; they are among those that failed. */
  rejected(model) {
    return this.#rateBy(model, "rejected");
  }

  /**
   * Return the failures of a model in all kept samples: counts by reason.
   *
   * The server refuses with a reason. Other failures are counted by their code: internal errors and
   * calls that their clients cancelled. Calls for "unknown" or for no model, "", count as well.
   */
  failures(model) {
    const counts = new Map();
    for (const { models } of this.samples) {
      const { rejected = {}, requests = {} } = models[model] ?? {};
      const codes = UNREASONED.map((code) => [code, requests[code] ?? 0]);
      for (const [reason, count] of [...Object.entries(rejected), ...codes])
        if (count) counts.set(reason, (counts.get(reason) ?? 0) + count);
    }
    return counts;
  }

  /** Images per second that were run for a model. */
  images(model) {
    return this.#rates((of) => of(model).images ?? 0);
  }

  /** Processor time of the server, in processors. */
  processors() {
    return this.samples.map(({ processor_s: seconds }) => seconds / this.intervalS);
  }

  /** The share of the time in which each GPU was used. */
  gpus() {
    const count = Math.max(0, ...this.samples.map(({ gpus }) => gpus.length));
    return Array.from({ length: count }, (_, gpu) =>
      this.samples.map(({ gpus }) => gpus[gpu] ?? null),
    );
  }

  queueDepth(model) {
    return this.samples.map(({ models }) => models[model]?.queue_depth ?? null);
  }

  /** Memory by kind, in bytes. */
  memory() {
    const kinds = [...new Set(this.samples.flatMap(({ memory_bytes: kind }) => Object.keys(kind)))];
    return kinds.map((kind) => ({
      kind,
      values: this.samples.map((sample) => sample.memory_bytes[kind] ?? null),
    }));
  }

  /** A quantile of a phase, or of the whole `duration`, in seconds; null where nothing happened. */
  quantile(model, phase, share) {
    const buckets = (one) => (phase === "duration" ? one?.duration : one?.phases?.[phase]) ?? {};
    return this.samples.map((_, index) =>
      quantile(
        add(this.#window(index).map(({ models }) => buckets(models[model]))),
        this.latencyBuckets,
        share,
      ),
    );
  }

  /**
   * The latency that clients see, in seconds: the wait in the gRPC transport and the handler.
   *
   * Requests that failed are part of it; null where none was answered.
   */
  latency(model, share) {
    const waits = this.samples.map((_, index) => {
      const window = this.#window(index).map((sample) => sample.transport_wait);
      return quantile(add(window), this.latencyBuckets, share) ?? 0;
    });
    const answered = this.samples.map((_, index) =>
      this.#window(index).some(({ models }) => models[model]?.requests?.OK),
    );
    return this.quantile(model, "duration", share).map((handler, index) =>
      handler && answered[index] ? handler + waits[index] : null,
    );
  }

  /** Runs of a model by batch size, over everything that is kept: `{size, count}`. */
  batches(model) {
    const counts = add(this.samples.map(({ models }) => models[model]?.batch_size ?? {}));
    return [...this.batchBuckets, Infinity].map((size, index) => ({
      size,
      count: counts[index] ?? 0,
    }));
  }

  #rates(count) {
    return this.samples.map((_, index) => {
      const window = this.#window(index);
      const counts = window.map(({ models }) => count((model) => models[model] ?? {}));
      return counts.reduce((sum, value) => sum + value, 0) / (window.length * this.intervalS);
    });
  }

  #rateBy(model, part) {
    const keys = new Set(
      this.samples.flatMap(({ models }) => Object.keys(models[model]?.[part] ?? {})),
    );
    return [...keys]
      .sort()
      .map((key) => ({ key, values: this.#rates((of) => of(model)[part]?.[key] ?? 0) }));
  }

  #window(index) {
    return this.samples.slice(Math.max(0, index - SMOOTH + 1), index + 1);
  }
}

const total = (counts) => Object.values(counts ?? {}).reduce((sum, count) => sum + count, 0);

function add(many) {
  const sums = {};
  for (const counts of many)
    for (const [index, count] of Object.entries(counts)) sums[index] = (sums[index] ?? 0) + count;
  return sums;
}

/** Return a quantile as `histogram_quantile` of Prometheus does: linear within the bucket, at most the last bound. */
export function quantile(counts, bounds, share) {
  let left = total(counts) * share;
  if (!left) return null;
  for (const [index, bound] of bounds.entries()) {
    const count = counts[index] ?? 0;
    const low = index ? bounds[index - 1] : 0;
    if (count >= left) return low + ((bound - low) * left) / count;
    left -= count;
  }
  return bounds.at(-1);
}
