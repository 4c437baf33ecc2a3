// Whole models of the 130M shape (24 layers, width 768): prefill without a head, and one-token steps with and without the tied 50k head.
import { stack } from "../lib/graphs.mjs";

const LAYERS = 24;
const layouts = { mamba1: `M1x${LAYERS}`, mamba2: `M2x${LAYERS}` };

const shares = (byOp) => {
  const total = Object.values(byOp).reduce((a, b) => a + b, 0);
  const sorted = Object.entries(byOp).sort((a, b) => b[1] - a[1]);
  return Object.fromEntries(sorted.slice(0, 6).map(([op, ms]) => [`${op}Share`, ms / total]));
};

/** Multiplications of one token, from the shapes of the weights. */
const productFlops = ({ graph }, head) =>
  [...graph.bindings.values()]
    .filter((v) => v.binding.kind === "parameter" && v.shape.length === 2 && Number(v.shape[1]) >= 48)
    .filter((v) => head || Number(v.shape[0]) < 50_000)
    .reduce((sum, v) => sum + 2 * Number(v.shape[0]) * Number(v.shape[1]), 0);

const prefill = (kind, dtype) => ({
  id: `prefill/${kind}/${dtype}`,
  run: async (kit) => {
    const length = kit.quick ? 512 : 2048;
    const program = stack({ length, layout: layouts[kind], dtype });
    const { ms, bestMs, cpuMs, byOp } = await kit.timeProgram(program, { repeats: 3 });
    const flops = productFlops(program, false) * length;
    const floorMs = kit.floorMs({ flops, bf16: dtype === "bf16" });
    const perSecond = (milliseconds) => (length / milliseconds) * 1000;
    const rates = { tokensPerSecond: perSecond(ms), tokensPerCpuSecond: perSecond(cpuMs) };
    return { ...rates, ms, bestMs, cpuMs, tokens: length, gemmFloorMs: floorMs, ...shares(byOp) };
  },
});

const step = (kind, dtype, head) => ({
  id: `step/${kind}/${dtype}${head ? "/head" : ""}`,
  run: async (kit) => {
    const program = stack({ length: 1, layout: layouts[kind], dtype, head });
    const { ms, bestMs, cpuMs, byOp } = await kit.timeProgram(program, { warmup: 5, repeats: kit.quick ? 20 : 100 });
    const bytes = (productFlops(program, head) / 2) * (dtype === "bf16" ? 2 : 4);
    return {
      stepsPerSecond: 1000 / ms,
      ms,
      bestMs,
      cpuMs,
      weightsFloorMs: bytes / kit.machine.readGbs / 1e6,
      ...shares(byOp),
    };
  },
});

export const rows = [
  ...["f32", "bf16"].flatMap((dtype) => Object.keys(layouts).map((kind) => prefill(kind, dtype))),
  ...["f32", "bf16"].flatMap((dtype) =>
    Object.keys(layouts).flatMap((kind) => [step(kind, dtype, false), step(kind, dtype, true)]),
  ),
];
