// Classifies image files by a convoy server: one line for each file, in the order of the files.
//
// Answers go to stdout, failures to stderr; the exit code is 1 if anything failed.

import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const USAGE = 'node classify.js [--address localhost:8001] [--model NAME] [--top-k 3] FILE...';
const PROTO = fileURLToPath(new URL('../../proto/convoy/v1/classifier.proto', import.meta.url));
const TIMEOUT_MS = 30_000;
const CALLS_IN_FLIGHT = 8;

function readArguments() {
  const options = {
    address: { type: 'string', default: 'localhost:8001' },
    model: { type: 'string' },
    'top-k': { type: 'string', default: '3' },
  };
  try {
    const { values, positionals: files } = parseArgs({ options, allowPositionals: true });
    const topK = Number(values['top-k']);
    if (!Number.isInteger(topK) || topK < 1) throw new Error('--top-k is a number, at least 1');
    if (files.length === 0) throw new Error('no files');
    return { address: values.address, model: values.model, topK, files };
  } catch (error) {
    throw new Error(`${error.message}\nusage: ${USAGE}`);
  }
}

function connect(address) {
  // Fields that are zero are not on the wire: `defaults` gives them back. `longs`: microseconds
  // and versions are far below 2^53, so that a plain number holds them.
  const definition = protoLoader.loadSync(PROTO, { defaults: true, longs: Number });
  const { ClassifierService } = grpc.loadPackageDefinition(definition).convoy.v1;
  return new ClassifierService(address, grpc.credentials.createInsecure());
}

/** Makes one call, with a deadline; a failure is grpc's `ServiceError`. */
function call(client, method, request) {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + TIMEOUT_MS };
    client[method](request, options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function onlyModel(client) {
  const { models } = await call(client, 'listModels', {});
  // A model is listed once for each version.
  const known = [...new Set(models.map((model) => model.name))];
  if (known.length === 1) return known[0];
  const names = known.join(', ');
  throw new Error(`choose one with --model: ${names || 'none is loaded'}`);
}

/** Reads and classifies one file; never rejects, as one bad file must not stop the others. */
async function classify(client, model, topK, file) {
  try {
    const image = await readFile(file);
    return { file, answer: await call(client, 'classify', { model, image, topK }) };
  } catch (error) {
    return { file, error };
  }
}

/**
 * Starts `work` on each item, `limit` at once at most, and yields the results in the order of the
 * items. `work` must not reject.
 */
async function* inOrder(items, limit, work) {
  const running = [];
  for (const item of items) {
    if (running.length === limit) yield await running.shift();
    running.push(work(item));
  }
  while (running.length > 0) yield await running.shift();
}

function describeAnswer({ predictions: [first, ...rest], timing }) {
  const name = ({ label, probability }) => `${label} ${probability.toFixed(4)}`;
  const ms = (us) => `${(us / 1000).toFixed(1)} ms`;
  const next = rest.length > 0 ? ` (then ${rest.map(name).join(', ')})` : '';
  return (
    `${name(first)}${next}; decode ${ms(timing.decodeUs)}, queue ${ms(timing.queueUs)}, ` +
    `inference ${ms(timing.inferenceUs)} in a batch of ${timing.batchSize}`
  );
}

/** `CODE REASON: message` for what gRPC or the server says, the message alone for other errors. */
function describeError(error) {
  const code = grpc.status[error.code];
  if (code === undefined) return error.message;
  // There is no reason where the call did not reach the server.
  const reason = error.metadata.get('error-reason');
  return `${[code, ...reason].join(' ')}: ${error.details}`;
}

async function main() {
  const { address, model: named, topK, files } = readArguments();
  const client = connect(address);
  try {
    const model = named ?? (await onlyModel(client));
    const work = (file) => classify(client, model, topK, file);
    for await (const { file, answer, error } of inOrder(files, CALLS_IN_FLIGHT, work)) {
      if (answer) {
        console.log(`${file}: ${describeAnswer(answer)}`);
      } else {
        console.error(`${file}: ${describeError(error)}`);
        process.exitCode = 1;
      }
    }
  } finally {
    client.close();
  }
}

try {
  await main();
} catch (error) {
  console.error(`classify.js: ${describeError(error)}`);
  process.exitCode = 1;
}
