import type { Take } from "./mixers.js";
import { linear, type Rows, rmsNorm, scaled } from "./rows.js";

export type Config = Readonly<Record<string, unknown>>;

/** What a config says, or what its published class takes where it says nothing. */
export function told<T>(config: Config, key: string, otherwise: T): T {
  return key in config ? (config[key] as T) : otherwise;
}

/** As `told`, for keys whose null means the fallback too. */
export const toldOr = <T>(config: Config, key: string, otherwise: T): T =>
  told<T | null>(config, key, null) ?? otherwise;

export type Layer = (take: Take, stream: Rows, embedded: Rows, onMargin: (margin: number) => void) => Rows;

/** A causal model as a list of functions of the residual stream. */
export interface ReferenceModel {
  width: number;
  vocabulary: number;
  embedding: string;
  embeddingScale?: number;
  finalNorm: string;
  eps: number;
  tied: boolean;
  logitsScale?: number;
  layers: readonly Layer[];
}

export interface Reference {
  /** [n, vocabulary]. */
  logits: Rows;
  /** The closest choice that any router made; infinite without routers. */
  margin: number;
}

/** Logits of one sequence, float64 throughout. */
export function run(model: ReferenceModel, take: Take, ids: readonly number[]): Reference {
  const { width, vocabulary } = model;
  const table = take(model.embedding, vocabulary, width);
  const data = new Float64Array(ids.length * width);
  ids.forEach((id, t) => {
    data.set(table.subarray(id * width, (id + 1) * width), t * width);
  });
  const embedded = scaled({ n: ids.length, width, data }, model.embeddingScale ?? 1);
  let margin = Number.POSITIVE_INFINITY;
  let stream = embedded;
  for (const layer of model.layers) {
    stream = layer(take, stream, embedded, (m) => {
      margin = Math.min(margin, m);
    });
  }
  const head = model.tied ? table : take("lm_head.weight", vocabulary, width);
  const logits = linear(rmsNorm(stream, take(model.finalNorm, width), model.eps), head);
  return { logits: scaled(logits, model.logitsScale ?? 1), margin };
}

const legacy: Readonly<Record<string, string>> = { linear_attention: "mamba", full_attention: "attention" };

/** Types of layers in the words of before transformers 5. */
export const typesOf = (names: readonly string[]) => names.map((name) => legacy[name] ?? name);

export const count = (n: number) => Array.from({ length: n }, (_, i) => i);
