import { type Closable, expected, throwIfAborted, UsageError } from "@krait/core";
import { binary, concatenateRows, copy, embedding, linear } from "@krait/graph";
import type { Device } from "@krait/runtime";
import type { LoadableWeights, ModelTensor } from "../checkpoints/index.js";
import { clipElements, clipTokens, type EncoderDescription } from "../families/encoder-family.js";
import { Pass } from "../families/pass.js";
import { Model, type ModelBuilder, type ModelOptions } from "../model.js";
import type { Blueprint } from "../stack.js";
import type { WeightSource } from "../weights.js";
import { type TokenOrder, tokenOrder, unfoldClip } from "./patches.js";

export interface FeatureEncoderOptions extends Pick<ModelOptions, "dtype" | "weights" | "signal"> {
  /** Most clips in one native run. */
  maxClips?: number | undefined;
}

/** What an encoder makes of one clip. */
export interface ClipFeatures {
  /** [tokens, width], in the order of the sequence, without the class token. */
  features: Float32Array;
  /** [width] */
  classToken: Float32Array;
  /** [classes], where the model has a head. */
  logits: Float32Array | undefined;
}

export function encoderTensors(description: EncoderDescription): ModelTensor[] {
  const { projection, classToken, positions, temporal, blocks, finalNorm, head } = description;
  return [
    projection.weight,
    projection.bias,
    classToken,
    positions,
    ...(temporal ? [temporal] : []),
    ...blocks.flatMap((b) => b.tensors),
    finalNorm,
    ...(head ? [head.weight, head.bias] : []),
  ];
}

export function encoderBlueprint(description: EncoderDescription): Blueprint {
  return { parameters: encoderTensors(description), states: description.blocks.flatMap((b) => b.states) };
}

/** patches [P, channels · patch] → features [T, width], logits [S, classes] of the class tokens. */
export function buildEncoder(description: EncoderDescription, builder: ModelBuilder, maxClips: number): void {
  const { graph, tokens, dtype, tensors, context } = builder;
  const { projection, classToken, positions, temporal, head, normEps, finalNorm } = description;
  const tensor = (t: ModelTensor) => tensors.get(t.name)!;
  const P = graph.symbol("P", maxClips * (clipTokens(description) - 1));
  const raw = graph.input("patches", "f32", [P, tensor(projection.weight).inner(1)]);
  let patches = linear(
    { x: dtype === "f32" ? raw : copy(raw, dtype), weight: tensor(projection.weight), bias: tensor(projection.bias) },
    { outDtype: "f32" },
  ).y; // [P, width]; the residual stream is float32 throughout
  if (temporal) {
    const table = tensor(temporal);
    const tubelets = graph.indices("tubelets", P, 0, table.shape[0]!);
    patches = binary({ a: patches, b: embedding({ table, ids: tubelets }).y }, { kind: "add" }).y;
  }
  const all = concatenateRows([tensor(classToken), patches]);
  const sources = graph.indices("sources", tokens, 0, all.shape[0]!);
  const places = graph.indices("places", tokens, 0, tensor(positions).shape[0]!);
  const x = binary(
    { a: embedding({ table: all, ids: sources }).y, b: embedding({ table: tensor(positions), ids: places }).y },
    { kind: "add" },
  ).y; // [T, width]
  const pass = new Pass(graph, x, x, tensors, context, dtype);
  for (const block of description.blocks) block.forward(pass);
  const features = pass.normed(finalNorm.name, normEps, "f32");
  graph.output("features", features);
  if (!head) return;
  const C = graph.symbol("C", maxClips);
  const rows = graph.indices("classRows", C, 0, tokens);
  const classes = embedding({ table: features, ids: rows }, { outDtype: dtype }).y;
  const logits = linear({ x: classes, weight: tensor(head.weight), bias: tensor(head.bias) }, { outDtype: "f32" }).y;
  graph.output("logits", logits);
}

/** A published encoder on a device: whole clips, pictures or spectrograms in, features out. Nothing is carried from run to run. */
export class FeatureEncoder implements Closable {
  private readonly order: TokenOrder;

  private constructor(
    readonly description: EncoderDescription,
    private readonly model: Model,
    private readonly maxClips: number,
  ) {
    this.order = tokenOrder(description);
  }

  static async create(
    device: Device,
    description: EncoderDescription,
    source: WeightSource | LoadableWeights,
    { maxClips = 1, ...options }: FeatureEncoderOptions = {},
  ): Promise<FeatureEncoder> {
    if (!Number.isInteger(maxClips) || maxClips < 1) {
      throw new UsageError(expected("a positive integer", "maxClips", maxClips), {
        code: "INVALID_OPTION",
        hint: "It is the number of clips in one run.",
      });
    }
    const model = await Model.create(
      device,
      description.family,
      encoderBlueprint(description),
      source,
      (builder) => buildEncoder(description, builder, maxClips),
      { ...options, maxTokens: maxClips * clipTokens(description), maxSequences: maxClips, slots: 1 },
    );
    return new FeatureEncoder(description, model, maxClips);
  }

  /** Numbers per token. */
  get width(): number {
    return this.description.width;
  }

  /** Tokens of a clip, without the class token. */
  get tokens(): number {
    return clipTokens(this.description) - 1;
  }

  /**
   * @param clips of each the normalised values: [frames, channels, rows, columns] of a picture model, [frames, bins] of a spectrogram
   * model, as the front ends `videomamba` and `ast` give them
   * @throws UsageError (INPUT_SIZE) for a clip of another size than the model's, AbortedError
   */
  async encode(
    clips: readonly Float32Array[],
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<ClipFeatures[]> {
    const wanted = clipElements(this.description);
    for (const [i, clip] of clips.entries()) {
      if (clip.length === wanted) continue;
      throw new UsageError(expected(`${this.inputShape()}, ${wanted} numbers`, `clip ${i}`, `${clip.length} numbers`), {
        code: "INPUT_SIZE",
        hint: "Give as many frames as the model was trained on, resized and normalised as its front end does.",
      });
    }
    const results: ClipFeatures[] = [];
    for (let at = 0; at < clips.length; at += this.maxClips) {
      throwIfAborted(signal, "encoding");
      results.push(...(await this.run(clips.slice(at, at + this.maxClips), signal)));
    }
    return results;
  }

  close(): void {
    this.model.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  private inputShape(): string {
    const { layout, channels, input } = this.description;
    return layout === "frames"
      ? `[${input.frames}, ${channels}, ${input.rows}, ${input.columns}]`
      : `[${input.columns}, ${input.rows}]`;
  }

  private async run(clips: readonly Float32Array[], signal: AbortSignal | undefined): Promise<ClipFeatures[]> {
    const { description, order, width, tokens } = this;
    const count = clips.length;
    const columns = description.projection.weight.programShape![1]!;
    const patches = new Float32Array(count * tokens * columns);
    const all = tokens + 1;
    const sources = new Int32Array(count * all);
    const places = new Int32Array(count * all);
    for (const [i, clip] of clips.entries()) {
      unfoldClip(description, clip, patches.subarray(i * tokens * columns, (i + 1) * tokens * columns));
      sources.set(
        order.sources.map((source) => (source === 0 ? 0 : source + i * tokens)),
        i * all,
      );
      places.set(order.positions, i * all);
    }
    const perTubelet = tokens / description.grid.frames;
    const { features, logits } = await this.model.run({
      lengths: Array<number>(count).fill(all),
      symbols: { P: count * tokens, ...(description.head && { C: count }) },
      inputs: {
        patches,
        sources,
        places,
        ...(description.temporal && {
          tubelets: Int32Array.from({ length: count * tokens }, (_, p) => Math.floor((p % tokens) / perTubelet)),
        }),
        ...(description.head && { classRows: Int32Array.from({ length: count }, (_, i) => i * all + order.classAt) }),
      },
      signal,
    });
    const classes = description.head?.classes ?? 0;
    return clips.map((_, i) => {
      const rows = (features as Float32Array).subarray(i * all * width, (i + 1) * all * width);
      const own = new Float32Array(tokens * width);
      own.set(rows.subarray(0, order.classAt * width));
      own.set(rows.subarray((order.classAt + 1) * width), order.classAt * width);
      return {
        features: own,
        classToken: rows.slice(order.classAt * width, (order.classAt + 1) * width),
        logits: logits && (logits as Float32Array).slice(i * classes, (i + 1) * classes),
      };
    });
  }
}
