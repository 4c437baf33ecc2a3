/**
 * One cycle for each group of nodes that reach each other (Tarjan 1972), as a path whose last node is its first.
 *
 * @param {Map<string, string[]>} edges
 * @returns {string[][]}
 */
export function findCycles(edges) {
  const index = new Map();
  const low = new Map();
  const stack = [];
  const cycles = [];

  const visit = (node) => {
    index.set(node, index.size);
    low.set(node, index.get(node));
    stack.push(node);
    for (const next of edges.get(node) ?? []) {
      if (!index.has(next)) visit(next);
      if (stack.includes(next)) low.set(node, Math.min(low.get(node), low.get(next)));
    }
    if (low.get(node) !== index.get(node)) return;
    const group = new Set(stack.splice(stack.indexOf(node)));
    const path = pathBack(edges, group, node);
    if (path) cycles.push(path);
  };
  for (const node of edges.keys()) if (!index.has(node)) visit(node);
  return cycles;
}

/** The shortest way from a node back to itself inside its group; undefined for a lone node that does not name itself. */
function pathBack(edges, group, start) {
  let paths = [[start]];
  const seen = new Set();
  while (paths.length > 0) {
    const longer = [];
    for (const path of paths) {
      for (const next of edges.get(path.at(-1)) ?? []) {
        if (next === start) return [...path, start];
        if (!group.has(next) || seen.has(next)) continue;
        seen.add(next);
        longer.push([...path, next]);
      }
    }
    paths = longer;
  }
  return undefined;
}
