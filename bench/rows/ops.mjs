// Single ops at the sizes of a 24-layer width-768 model, against the plain loop of the same definition (one thread).
import { causalConv1d, linear, selectiveScan, ssdScan } from "../../packages/graph/dist/index.js";
import { packed } from "../lib/graphs.mjs";

const [CHANNELS, STATES, HEADS, HEAD_DIM, SSD_STATES] = [1536, 16, 24, 64, 128];
const tokensOf = (kit) => (kit.quick ? 512 : 2048);

function scan(tokens, dtype) {
  const p = packed("scan", tokens);
  const big = (name, width) => p.graph.parameter(name, dtype, [p.T, width]);
  const { y } = selectiveScan({
    x: big("x", CHANNELS),
    dt: big("dt", CHANNELS),
    aLog: p.graph.parameter("aLog", "f32", [CHANNELS, STATES]),
    B: big("B", STATES),
    C: big("C", STATES),
    D: p.graph.parameter("D", "f32", [CHANNELS]),
    dtBias: p.graph.parameter("dtBias", "f32", [CHANNELS]),
    z: big("z", CHANNELS),
    cuSeqlens: p.cuSeqlens,
  });
  p.graph.output("y", y);
  return p;
}

function ssd(tokens, dtype) {
  const p = packed("ssd", tokens);
  const big = (name, shape) => p.graph.parameter(name, dtype, [p.T, ...shape]);
  const { y } = ssdScan({
    x: big("x", [HEADS, HEAD_DIM]),
    dt: big("dt", [HEADS]),
    aLog: p.graph.parameter("aLog", "f32", [HEADS]),
    B: big("B", [1, SSD_STATES]),
    C: big("C", [1, SSD_STATES]),
    D: p.graph.parameter("D", "f32", [HEADS, 1]),
    cuSeqlens: p.cuSeqlens,
  });
  p.graph.output("y", y);
  return p;
}

function conv(tokens, dtype) {
  const p = packed("conv", tokens);
  const x = p.graph.parameter("x", dtype, [p.T, CHANNELS]);
  const weight = p.graph.parameter("weight", "f32", [CHANNELS, 4]);
  const bias = p.graph.parameter("bias", "f32", [CHANNELS]);
  p.graph.output("y", causalConv1d({ x, weight, bias, cuSeqlens: p.cuSeqlens }, { activation: "silu" }).y);
  return p;
}

function product(tokens, dtype, columns, depth) {
  const p = packed("product", tokens);
  const x = p.graph.parameter("x", dtype, [p.T, depth]);
  const weight = p.graph.parameter("weight", dtype, [columns, depth]);
  p.graph.output("y", linear({ x, weight }).y);
  return p;
}

async function against(kit, program, work, baseline) {
  const { ms, bestMs, cpuMs } = await kit.timeProgram(program);
  const result = { ms, bestMs, cpuMs, floorMs: kit.floorMs(work) };
  if (!baseline) return { ...result, gflops: work.flops / ms / 1e6 };
  const { ms: baselineMs, cpuMs: baselineCpuMs } = await kit.native(...baseline);
  return { ...result, baselineMs, baselineCpuMs, ratio: baselineMs / ms, ratioPerCore: baselineCpuMs / cpuMs };
}

const bytesOf = (dtype) => (dtype === "bf16" ? 2 : 4);
const rowsOf = (dtype) => [
  {
    id: `op/selective_scan/${dtype}`,
    run: (kit) => {
      const T = tokensOf(kit);
      // Of an exponential: one product, seven multiply-adds and an addition; then three for the state and two for the sum.
      const work = { flops: T * CHANNELS * STATES * 21, bytes: T * (4 * CHANNELS + 2 * STATES) * bytesOf(dtype) };
      return against(kit, scan(T, dtype), work, ["selective_scan", T, CHANNELS, STATES]);
    },
  },
  {
    id: `op/ssd_scan/${dtype}`,
    run: (kit) => {
      const T = tokensOf(kit);
      const width = HEADS * HEAD_DIM;
      const flops = T * (64 * SSD_STATES + 64 * width + 4 * width * SSD_STATES);
      const work = { flops, bytes: T * (2 * width + 2 * SSD_STATES + HEADS) * bytesOf(dtype) };
      return against(kit, ssd(T, dtype), work, ["ssd_scan", T, HEADS, HEAD_DIM, SSD_STATES]);
    },
  },
  {
    id: `op/causal_conv1d/${dtype}`,
    run: (kit) => {
      const T = tokensOf(kit);
      const work = { flops: T * CHANNELS * 30, bytes: 2 * T * CHANNELS * bytesOf(dtype) };
      return against(kit, conv(T, dtype), work, ["causal_conv1d", T, CHANNELS, 4]);
    },
  },
  ...[
    [2048, 3072, 768],
    [2048, 768, 1536],
    [1, 3072, 768],
    [1, 50280, 768],
  ].map(([T, N, K]) => ({
    id: `op/linear_${T}x${N}x${K}/${dtype}`,
    run: (kit) => {
      const work = { flops: 2 * T * N * K, bytes: (T * N + T * K + N * K) * bytesOf(dtype), bf16: dtype === "bf16" };
      return against(kit, product(T, dtype, N, K), work);
    },
  })),
];

export const rows = [...rowsOf("f32"), ...rowsOf("bf16")];
