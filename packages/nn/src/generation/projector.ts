import { join } from "node:path";
import { type Closable, expected, parseOptions, UsageError } from "@krait/core";
import { openSafetensors } from "@krait/formats";
import { linear } from "@krait/graph";
import type { Device } from "@krait/runtime";
import { z } from "zod";
import { asInput, readPublishedConfig } from "../checkpoints/index.js";
import { kaimingUniform } from "../init.js";
import type { ParameterSpec } from "../layers/index.js";
import { activations } from "../layers/projection.js";
import { Model } from "../model.js";
import { checkWeights, type WeightSource } from "../weights.js";

/** Features per run. */
const RUN_ROWS = 1024;

export const projectorSchema = z.strictObject({
  /** Width of the features. */
  input: z.int().positive().max(65536),
  /** Width of the causal model. */
  width: z.int().positive().max(65536),
  /** Of the layer between; without it the projector is one matrix. */
  hidden: z.int().positive().max(65536).optional(),
  activation: z.enum(activations).default("gelu"),
  bias: z.boolean().default(true),
});
export type ProjectorOptions = z.input<typeof projectorSchema>;

/** Tensors of a projector: `linear`, or `up` and `down`; each with weight and bias. */
export function projectorParameters(options: ProjectorOptions): ParameterSpec[] {
  const { input, width, hidden, bias } = parseOptions(projectorSchema, options, "a projector");
  const layer = (name: string, rows: number, columns: number): ParameterSpec[] => [
    { name: `${name}.weight`, shape: [rows, columns], dtype: "weight", init: kaimingUniform(columns) },
    ...(bias ? [{ name: `${name}.bias`, shape: [rows], dtype: "weight" as const, init: kaimingUniform(columns) }] : []),
  ];
  return hidden === undefined
    ? layer("linear", width, input)
    : [...layer("up", hidden, input), ...layer("down", width, hidden)];
}

/**
 * Puts features of an encoder where a causal model has its tokens: a matrix, or an MLP with one layer between, as in LLaVA
 * (arXiv 2304.08485, 2310.03744).
 */
export class Projector implements Closable {
  private constructor(
    readonly input: number,
    readonly width: number,
    private readonly model: Model,
  ) {}

  /** @throws UsageError (INVALID_OPTION), InputError (TENSOR_*, WEIGHT_NOT_FINITE) */
  static async create(device: Device, options: ProjectorOptions, source: WeightSource): Promise<Projector> {
    const parsed = parseOptions(projectorSchema, options, "a projector");
    const { input, width, hidden, activation, bias } = parsed;
    const parameters = projectorParameters(parsed);
    const model = await Model.create(
      device,
      "projector",
      { parameters, states: [] },
      source,
      ({ graph, tokens, tensors }) => {
        const project = (name: string, x: ReturnType<typeof graph.input>, f: typeof activation = "identity") => {
          const tensor = (part: string) => tensors.get(`${name}.${part}`)!;
          return linear({ x, weight: tensor("weight"), bias: bias ? tensor("bias") : undefined }, { activation: f }).y;
        };
        const x = graph.input("features", "f32", [tokens, input]);
        const y = hidden === undefined ? project("linear", x) : project("down", project("up", x, activation));
        graph.output("soft", y);
      },
      { maxTokens: RUN_ROWS, maxSequences: 1, slots: 1 },
    );
    return new Projector(input, width, model);
  }

  /**
   * @param features [n, input]
   * @returns soft tokens [n, width]
   * @throws UsageError (INVALID_OPTION), AbortedError
   */
  async project(features: Float32Array, signal?: AbortSignal): Promise<Float32Array> {
    if (features.length % this.input !== 0) {
      throw new UsageError(expected(`rows of ${this.input} numbers`, "the features", features), {
        code: "INVALID_OPTION",
        hint: "The projector was made for another encoder.",
      });
    }
    const count = features.length / this.input;
    const all = new Float32Array(count * this.width);
    for (let from = 0; from < count; from += RUN_ROWS) {
      const part = features.subarray(from * this.input, Math.min(count, from + RUN_ROWS) * this.input);
      const { soft } = await this.model.run({
        lengths: [part.length / this.input],
        inputs: { features: part },
        signal,
      });
      all.set(soft as Float32Array, from * this.width);
    }
    return all;
  }

  close(): void {
    this.model.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

/**
 * Loads a projector from a folder: `config.json` with its options, and `model.safetensors`.
 *
 * @throws InputError (MODEL_NOT_FOUND, INVALID_CONFIG, TENSOR_*, WEIGHT_NOT_FINITE, and the reader's SAFETENSORS_* codes)
 */
export async function loadProjector(device: Device, folder: string): Promise<Projector> {
  const { values, path } = await readPublishedConfig(folder);
  const options = asInput(() => parseOptions(projectorSchema, values, path));
  const file = await openSafetensors(join(folder, "model.safetensors"));
  try {
    const source: WeightSource = {
      origin: file.path,
      names: new Set(file.tensors.keys()),
      shapeOf: (name) => file.tensors.get(name)?.shape,
      read: (spec, signal) => file.readFloat32(spec.name, signal && { signal }),
    };
    checkWeights(source, projectorParameters(options));
    return await Projector.create(device, options, source);
  } finally {
    await file.close();
  }
}
