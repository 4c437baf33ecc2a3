import type { TypedArray } from "@krait/core";
import { type Graph, interpret } from "@krait/graph";
import { type Device, type DeviceBuffer, openDevice, type RunOptions } from "@krait/runtime";

/** A device whose programs run op by op through the float64 references, with float32 results as a real one gives. */
function interpretedDevice(): Device {
  const held = new Map<DeviceBuffer, TypedArray>();
  const device = {
    kind: "cpu",
    async upload(data: TypedArray) {
      const buffer = { bytes: data.byteLength, close: () => held.delete(buffer) } as unknown as DeviceBuffer;
      held.set(buffer, data);
      return buffer;
    },
    async load(graph: Graph, { buffers = {} }: { buffers?: Record<string, DeviceBuffer> }) {
      return {
        async run({ symbols, inputs, signal }: RunOptions) {
          signal?.throwIfAborted();
          const parameters = Object.entries(buffers).map(([name, buffer]) => [name, held.get(buffer)!]);
          const { outputs } = interpret(graph, symbols, { ...Object.fromEntries(parameters), ...inputs });
          return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, Float32Array.from(data)]));
        },
        close() {},
      };
    },
    close: async () => {},
  };
  return device as unknown as Device;
}

/** What every front end is tested on. */
export const devices: [name: string, open: () => Promise<Device>][] = [
  ["the float64 references", async () => interpretedDevice()],
  ["the CPU", () => openDevice({ device: "cpu" })],
];

/** ‖a − b‖ / ‖b‖ */
export function relativeRms(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let error = 0;
  let norm = 0;
  for (let i = 0; i < a.length; i++) {
    error += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(error / norm);
}

/** mulberry32 */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
