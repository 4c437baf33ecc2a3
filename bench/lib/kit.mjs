// What rows share: the device, the machine's measured rates, random tensors, medians, and the plain loops to compare with.
import { cpus } from "node:os";
import { dtypeSize, toBf16 } from "../../packages/core/dist/index.js";
import { capacityBytes } from "../../packages/graph/dist/index.js";
import { openDevice } from "../../packages/runtime/dist/index.js";
import { nativeBench } from "./native.mjs";

export const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

const PATTERN = 1 << 20; // elements of random data, repeated to fill a buffer
const pattern = Float32Array.from({ length: PATTERN }, () => Math.random() * 2 - 1);
// Step sizes must be positive and small where they come already through softplus; decays as trained models have them.
const shapes = { dt: (x) => 0.05 + 0.04 * x, aLog: (x) => 1 + x, A_log: (x) => 1 + x, other: (x) => 0.2 * x };
const patterns = new Map();

/** The pattern for a tensor of this name in this many bytes per element. */
function patternFor(name, size) {
  const last = name.split(".").at(-1);
  const shape = last in shapes ? last : "other";
  const key = `${shape} ${size}`;
  if (!patterns.has(key)) {
    const data = pattern.map(shapes[shape]);
    patterns.set(key, size === 2 ? Uint16Array.from(data, toBf16) : data);
  }
  return patterns.get(key);
}

export async function openKit({ quick, threads }) {
  const device = await openDevice({ device: "cpu", ...(threads > 0 && { threads }) });
  const described = device.describe();
  const native = (name, ...args) => nativeBench([name, ...args.map(String)], described.threads);
  const rates = await native("machine");
  const machine = {
    cpu: cpus()[0].model,
    threads: described.threads,
    node: process.version,
    gemm: described.gemm,
    ...rates,
  };

  /** Device memory for a value of a program, filled with random numbers. */
  async function randomBuffer(name, value) {
    const buffer = await device.allocate(capacityBytes(value));
    const size = dtypeSize(value.dtype);
    const some = patternFor(name, size);
    for (let at = 0; at < buffer.bytes; at += PATTERN * size) {
      await buffer.write(some.subarray(0, Math.min(PATTERN, (buffer.bytes - at) / size)), at);
    }
    return buffer;
  }

  /**
   * Median milliseconds of a program's runs, and of each of its ops; `cpuMs` is what a run takes of all processors together, which other
   * work on the machine hardly changes. States and parameters are random.
   */
  async function timeProgram({ graph, symbols, inputs }, { warmup = 1, repeats = quick ? 3 : 7 } = {}) {
    const buffers = {};
    let program;
    try {
      for (const [name, value] of graph.bindings) {
        const { kind } = value.binding;
        if (kind === "parameter" || kind === "state") buffers[name] = await randomBuffer(name, value);
      }
      program = await device.load(graph, { buffers });
      const run = { symbols, inputs };
      await program.measure(run, { warmup: warmup - 1, repeats: 1 });
      const before = process.cpuUsage();
      const { milliseconds } = await program.measure(run, { warmup: 0, repeats });
      const { user, system } = process.cpuUsage(before);
      const { ops } = await program.measure(run, { warmup: 0, repeats: 3, perOp: true });
      const byOp = {};
      for (const { op, milliseconds: ms } of ops) byOp[op] = (byOp[op] ?? 0) + ms;
      return {
        ms: median(milliseconds),
        bestMs: Math.min(...milliseconds),
        cpuMs: (user + system) / 1000 / repeats,
        byOp,
      };
    } finally {
      program?.close();
      for (const buffer of Object.values(buffers)) buffer.close();
    }
  }

  return {
    quick,
    device,
    machine,
    /** Runs one of the plain loops of bench/native: `native(name, ...sizes)` gives what it prints. */
    native,
    timeProgram,
    /** The least time for work of so many floating-point operations and bytes on this machine, at its measured rates. */
    floorMs({ flops = 0, bytes = 0, bf16 = false }) {
      const peak = bf16 ? (machine.bf16Gflops ?? machine.f32Gflops) : machine.f32Gflops;
      return Math.max(flops / peak, bytes / machine.copyGbs) / 1e6;
    },
    close: () => device.close(),
  };
}
