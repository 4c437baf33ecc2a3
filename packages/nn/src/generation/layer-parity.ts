import { expected, InputError, throwIfAborted } from "@krait/core";
import type { SafetensorsFile } from "@krait/formats";
import type { Device } from "@krait/runtime";
import { Model } from "../model.js";
import type { WeightSource } from "../weights.js";
import type { GoldenLayer } from "./golden-layer.js";
import type { ParityCase, ParityOptions, ParityReport } from "./parity.js";
import { RelativeError } from "./relative-error.js";

/** What the references of layers compute in: float32, products in tf32, bf16. */
const bounds: Readonly<Record<string, number>> = { mamba1: 1e-4, mamba2: 2e-3, mamba3: 2e-2 };

/**
 * Every `L{n}.x` [batch, n, width] of a layer's golden file, packed, against `L{n}.y`.
 *
 * @throws InputError (GOLDEN_INVALID, WEIGHT_NOT_FINITE), AbortedError
 */
export async function compareLayer(
  device: Device,
  file: SafetensorsFile,
  layer: GoldenLayer,
  { bound = bounds[layer.kind] ?? 1e-4, dtype = "f32", signal }: ParityOptions,
): Promise<Omit<ParityReport, "greedyEqual">> {
  const inputs = casesOf(file, layer.width);
  const source: WeightSource = {
    origin: file.path,
    names: undefined,
    shapeOf: (name) => file.tensors.get(`param.${name}`)?.shape,
    read: (spec, signal) => file.readFloat32(`param.${spec.name}`, signal && { signal }),
  };
  const model = await Model.create(
    device,
    layer.kind,
    { parameters: layer.parameters, states: layer.states },
    source,
    layer.build,
    {
      dtype,
      maxTokens: Math.max(...inputs.map((c) => c.sequences * c.tokens)),
      maxSequences: Math.max(...inputs.map((c) => c.sequences)),
      slots: 1,
      signal,
    },
  );
  try {
    const cases: ParityCase[] = [];
    for (const { name, sequences, tokens } of inputs) {
      throwIfAborted(signal, "the comparison");
      const { outputs } = await model.run({
        lengths: Array<number>(sequences).fill(tokens),
        inputs: { values: await file.readFloat32(`${name}.x`) },
        signal,
      });
      const error = new RelativeError();
      error.add(outputs as Float32Array, await file.readFloat32(`${name}.y`), 0);
      cases.push({ name, sequences, tokens, relRms: error.value, ok: error.value <= bound });
    }
    const maxRelRms = Math.max(...cases.map((c) => c.relRms));
    return { family: layer.kind, dtype, bound, cases, maxRelRms, ok: cases.every((c) => c.ok) };
  } finally {
    model.close();
  }
}

function casesOf(file: SafetensorsFile, width: number): { name: string; sequences: number; tokens: number }[] {
  const names = [...file.tensors.keys()].flatMap((key) => /^(L\d+)\.x$/.exec(key)?.[1] ?? []);
  names.sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
  if (names.length === 0) throw invalid(file, "tensors L{n}.x and L{n}.y", [...file.tensors.keys()]);
  return names.map((name) => {
    const [x, y] = [file.tensors.get(`${name}.x`)!.shape, file.tensors.get(`${name}.y`)?.shape];
    if (x.length !== 3 || x[2] !== width || x.includes(0))
      throw invalid(file, `${name}.x [batch, tokens, ${width}]`, x);
    if (x.join() !== y?.join()) throw invalid(file, `${name}.y [${x.join(", ")}]`, y);
    return { name, sequences: x[0]!, tokens: x[1]! };
  });
}

function invalid(file: SafetensorsFile, what: string, received: unknown): InputError {
  return new InputError(expected(what, file.path, received), {
    code: "GOLDEN_INVALID",
    hint: "The golden file of a layer holds param.*, L{n}.x and L{n}.y of a reference implementation.",
  });
}
