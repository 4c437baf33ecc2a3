import { setImmediate as breathe } from "node:timers/promises";
import { expected, InputError, type TypedArray, throwIfAborted, toBf16 } from "@krait/core";
import { seededRandom } from "./init.js";
import type { ParameterSpec } from "./layers/index.js";

const what = "loading the weights";

/** Where a model's tensors come from. */
export interface WeightSource {
  /** For messages: a path, or "the seeded initialisation". */
  readonly origin: string;
  /** Names it holds; undefined when it can make any. */
  readonly names: ReadonlySet<string> | undefined;
  shapeOf(name: string): readonly number[] | undefined;
  /** Throws `AbortedError`. */
  read(spec: ParameterSpec, signal?: AbortSignal): Promise<Float32Array>;
}

/** Random weights after each tensor's own rule; the same seed and name give the same values everywhere. */
export function seededWeights(seed: number): WeightSource {
  return {
    origin: `the seeded initialisation (seed ${seed})`,
    names: undefined,
    shapeOf: () => undefined,
    async read(spec, signal) {
      const data = new Float32Array(spec.shape.reduce((a, b) => a * b, 1));
      const random = seededRandom(seed, spec.name);
      await inSlices(data.length, 2 ** 16, signal, (from, to) => spec.init(data.subarray(from, to), random));
      return data;
    },
  };
}

/** Compares names and shapes; every difference is named. Throws `InputError` (TENSOR_MISSING, TENSOR_UNEXPECTED, TENSOR_SHAPE). */
export function checkWeights(source: WeightSource, specs: readonly ParameterSpec[]): void {
  if (!source.names) return;
  const wanted = new Set(specs.map((s) => s.name));
  const some = (names: string[]) =>
    `${names.slice(0, 3).join(", ")}${names.length > 3 ? ` and ${names.length - 3} more` : ""}`;
  const missing = specs.filter((s) => !source.names!.has(s.name)).map((s) => s.name);
  if (missing.length > 0) {
    throw new InputError(`Expected tensor ${some(missing)} for the model but ${source.origin} does not hold it`, {
      code: "TENSOR_MISSING",
      hint: "Does config.json belong to these weights?",
    });
  }
  const extra = [...source.names].filter((n) => !wanted.has(n));
  if (extra.length > 0) {
    throw new InputError(`Expected only the model's tensors for ${source.origin} but received ${some(extra)}`, {
      code: "TENSOR_UNEXPECTED",
      hint: "A tensor that nothing reads usually means another architecture or config.",
    });
  }
  for (const spec of specs) {
    const shape = source.shapeOf(spec.name)!;
    if (shape.length === spec.shape.length && shape.every((n, i) => n === spec.shape[i])) continue;
    throw new InputError(
      expected(`shape [${spec.shape.join(", ")}]`, `tensor ${spec.name} of ${source.origin}`, `[${shape.join(", ")}]`),
      {
        code: "TENSOR_SHAPE",
        hint:
          [...shape].reverse().join() === spec.shape.join()
            ? "It looks transposed."
            : "Compare config.json with the weights.",
      },
    );
  }
}

/**
 * Reads each tensor, checks that it is finite and gives it in the dtype that the program wants.
 *
 * @throws InputError (WEIGHT_NOT_FINITE) naming the tensor
 */
export async function* readWeights(
  source: WeightSource,
  specs: readonly ParameterSpec[],
  dtype: "f32" | "bf16",
  signal?: AbortSignal,
): AsyncGenerator<{ spec: ParameterSpec; data: TypedArray }> {
  checkWeights(source, specs);
  for (const spec of specs) {
    throwIfAborted(signal, what);
    const data = await source.read(spec, signal);
    const bits = spec.dtype === "weight" && dtype === "bf16" ? new Uint16Array(data.length) : undefined;
    let bad = -1;
    await inSlices(data.length, 2 ** 20, signal, (from, to) => {
      for (let i = from; i < to && bad < 0; i++) if (!Number.isFinite(data[i])) bad = i;
      if (bits) for (let i = from; i < to; i++) bits[i] = toBf16(data[i]!);
    });
    if (bad >= 0) {
      throw new InputError(expected("finite numbers", `tensor ${spec.name} of ${source.origin}`, data[bad]), {
        code: "WEIGHT_NOT_FINITE",
        hint: `Element ${bad} is not finite: the checkpoint is broken or was saved during a diverged training run.`,
      });
    }
    yield { spec, data: bits ?? data };
  }
}

/** Works through elements with a turn of the event loop after each slice of them. Throws `AbortedError`. */
async function inSlices(
  length: number,
  slice: number,
  signal: AbortSignal | undefined,
  work: (from: number, to: number) => void,
): Promise<void> {
  for (let from = 0; from < length; from += slice) {
    work(from, Math.min(length, from + slice));
    await breathe();
    throwIfAborted(signal, what);
  }
}
