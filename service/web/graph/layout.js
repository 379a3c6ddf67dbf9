/** The places of the layers of a network, found by dagre in a worker. */

/** Size of a layer's box, in pixels at full size. */
export const BOX = { width: 190, height: 44 };

/**
 * Lay out layers: `{width, height, nodes: [{x, y, rank}], edges: [{from, to, points}]}`, with the
 * centres of boxes. Null if the library is not installed.
 */
export function layOut(layers) {
  const pairs = new Map();
  layers.forEach(({ inputs }, to) => {
    for (const from of inputs) pairs.set(`${from} ${to}`, [from, to]);
  });
  const edges = [...pairs.values()];
  const worker = new Worker(new URL("./layout-worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.addEventListener("message", ({ data }) => {
      const drawn = data.edges.map((points, index) => {
        const [from, to] = edges[index];
        return { from, to, points };
      });
      resolve({ ...data, edges: drawn });
    });
    worker.addEventListener("error", (event) => {
      // A script that could not be fetched has no message; an error inside it has one.
      if (event.message) reject(new Error(event.message));
      else resolve(null);
    });
    worker.postMessage({ nodes: layers.map(() => ({ ...BOX })), edges });
  }).finally(() => worker.terminate());
}
