/** Lays out a graph from top to bottom in a worker, as it may take a second. */

import { Graph, layout } from "../node_modules/@dagrejs/dagre/dist/dagre.esm.js";

const SPACE = { nodesep: 18, ranksep: 26, marginx: 12, marginy: 12 };

addEventListener("message", ({ data: { nodes, edges } }) => {
  const graph = new Graph();
  graph.setGraph({ ...SPACE });
  graph.setDefaultEdgeLabel(() => ({}));
  nodes.forEach((node, index) => graph.setNode(String(index), node));
  for (const [from, to] of edges) graph.setEdge(String(from), String(to));
  layout(graph);
  const { width, height } = graph.graph();
  postMessage({
    width,
    height,
    nodes: nodes.map((_, index) => {
      const { x, y, rank } = graph.node(String(index));
      return { x, y, rank };
    }),
    edges: edges.map(([from, to]) => graph.edge(String(from), String(to)).points),
  });
});
