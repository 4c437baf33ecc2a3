// Scans over more than 2^31 elements, against the same sequence in chunks far below that: only offsets can tell the two apart.
import { toBf16 } from "../../packages/core/dist/index.js";
import {
  capacityBytes,
  embedding,
  Graph,
  mergeHeads,
  pool,
  selectiveScan,
  splitHeads,
  ssdScan,
} from "../../packages/graph/dist/index.js";

const [C, N, H, P] = [2048, 16, 32, 64];
const TABLE_ROWS = 1021;
/** Of every so many rows the last comes back as it is, and all of them as their mean. */
const PERIOD = 4096;
const BOUND = 1e-2;

/** Operands are rows of small random tables, gathered by random ids: nobody has to send gigabytes. */
function program(op, capacity, dtype) {
  const graph = new Graph(`huge ${op}`);
  const T = graph.symbol("T", capacity);
  const S = graph.symbol("S", 1);
  const Q = graph.symbol("Q", capacity / PERIOD);
  const ids = graph.indices("ids", T, 0, TABLE_ROWS);
  const rows = (name, width) =>
    embedding({ table: graph.parameter(name, dtype, [TABLE_ROWS, width]), ids }, { outDtype: dtype }).y;
  const f32 = (name, shape) => graph.parameter(name, "f32", shape);
  const packing = { cuSeqlens: graph.cuSeqlens("cuSeqlens", S, T), stateIndex: graph.slots("stateIndex", S, 1) };
  const heads = (value, count) => splitHeads({ x: value }, { heads: count }).y;
  let y;
  if (op === "selective_scan") {
    const state = graph.state("state", "f32", [1, C, N]);
    const varying = { x: rows("x", C), dt: rows("dt", C), z: rows("z", C), B: rows("B", N), C: rows("C", N) };
    const fixed = { aLog: f32("aLog", [C, N]), D: f32("D", [C]), dtBias: f32("dtBias", [C]) };
    y = selectiveScan({ ...varying, ...fixed, ...packing, state }, {}).y;
  } else {
    const state = graph.state("state", "f32", [1, H, P, 8 * N]);
    const varying = {
      x: heads(rows("x", C), H),
      dt: rows("dt", H),
      B: heads(rows("B", 8 * N), 1),
      C: heads(rows("C", 8 * N), 1),
    };
    const fixed = { aLog: f32("aLog", [H]), D: f32("D", [H, 1]), dtBias: f32("dtBias", [H]) };
    y = mergeHeads({ x: ssdScan({ ...varying, ...fixed, ...packing, state }, {}).y }, {}).y;
  }
  graph.output(
    "means",
    pool({ x: y, cuSeqlens: graph.cuSeqlens("borders", Q, T) }, { kind: "mean", outDtype: "f32" }).y,
  );
  const picked = graph.indices("picked", Q, 0, T);
  graph.output("rows", embedding({ table: y, ids: picked }, { outDtype: "f32" }).y);
  return graph;
}

async function randomBuffers(device, graph) {
  const buffers = {};
  for (const [name, value] of graph.bindings) {
    if (value.binding.kind !== "parameter") continue;
    const elements = capacityBytes(value) / (value.dtype === "bf16" ? 2 : 4);
    const data = Float32Array.from({ length: elements }, () => Math.random() * 2 - 1);
    buffers[name] = await device.upload(value.dtype === "bf16" ? Uint16Array.from(data, toBf16) : data);
  }
  return buffers;
}

const distance = (a, b) => {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    norm += b[i] ** 2;
  }
  return norm > 0 ? Math.sqrt(difference / norm) : Number.NaN;
};

/** @returns rows of a test's record. `tokens` and `chunk` are multiples of PERIOD. */
export async function checkHuge(device, { tokens = 2 ** 20 + PERIOD, chunk = 2 ** 17, dtype = "bf16" } = {}) {
  const records = [];
  for (const op of ["selective_scan", "ssd_scan"]) {
    const allIds = Int32Array.from({ length: tokens }, () => Math.floor(Math.random() * TABLE_ROWS));
    let buffers;
    const runs = {};
    for (const [name, capacity] of [
      ["whole", tokens],
      ["chunked", chunk],
    ]) {
      const graph = program(op, capacity, dtype);
      buffers ??= await randomBuffers(device, graph);
      const state = [...graph.bindings.values()].find((value) => value.binding.kind === "state");
      const zeros = await device.zeros(capacityBytes(state));
      const loaded = await device.load(graph, { buffers: { ...buffers, state: zeros } });
      const parts = [];
      for (let from = 0; from < tokens; from += capacity) {
        const T = Math.min(capacity, tokens - from);
        const Q = T / PERIOD;
        const borders = Int32Array.from({ length: Q + 1 }, (_, i) => i * PERIOD);
        const inputs = {
          ids: allIds.subarray(from, from + T),
          cuSeqlens: Int32Array.of(0, T),
          stateIndex: Int32Array.of(0),
          borders,
          picked: borders.slice(1).map((end) => end - 1),
        };
        parts.push(await loaded.run({ symbols: { T, S: 1, Q }, inputs }));
      }
      const join = (key) => Float32Array.from(parts.flatMap((part) => [...part[key]]));
      runs[name] = {
        means: join("means"),
        rows: join("rows"),
        state: await zeros.read(new Float32Array(zeros.bytes / 4)),
      };
      loaded.close();
      zeros.close();
    }
    for (const buffer of Object.values(buffers)) buffer.close();
    const error = Math.max(...["means", "rows", "state"].map((key) => distance(runs.whole[key], runs.chunked[key])));
    records.push({ id: `huge/${op}/${dtype}/${tokens * C} elements`, error, bound: BOUND });
  }
  return records;
}
