import { dtypeSize } from "@krait/core";
import { Graph, type Value } from "@krait/graph";
import { type ModelTensor, mapWeights, openModelFolder, readPublishedConfig } from "../checkpoints/index.js";
import { describeModel } from "../families/index.js";
import { stateShape } from "../layers/index.js";
import { blueprintOf, buildCausal, tensorsOf } from "./causal-model.js";

export interface ModelReport {
  family: string;
  width: number;
  vocabularySize: number;
  /** Kinds of blocks in the order of depth. */
  blocks: string[];
  /** Elements of all tensors, shared ones counted once. */
  parameters: number;
  /** Bytes of the weights: as the files hold them, and as a program of either dtype keeps them. */
  bytes: { stored: number; f32: number; bf16: number };
  /** Bytes of carried state per sequence in either dtype, with keys and values for `contextTokens`. */
  stateBytes: { f32: number; bf16: number };
  /** Tokens that keys and values were counted for; undefined without attention: the state never grows. */
  contextTokens: number | undefined;
  /** Floating-point operations for one token that sees a full context, its logits included. */
  flopsPerToken: number;
}

/**
 * Looks into a published model without loading its weights: config and headers alone.
 *
 * @param contextTokens tokens that attention is counted for
 * @throws what `loadCausalModel` throws, less what only the values of weights can show
 */
export async function inspectModel(
  folder: string,
  { contextTokens = 4096 }: { contextTokens?: number } = {},
): Promise<ModelReport> {
  const config = await readPublishedConfig(folder);
  const files = await openModelFolder(folder);
  try {
    const description = describeModel(config, { names: new Set(files.tensors.keys()), contextTokens });
    const tensors = tensorsOf(description);
    await mapWeights(files, tensors, { aliases: description.aliases, ignored: description.ignored });
    const room = contextTokens;
    const states = blueprintOf(description).states.map((s) => ({ ...s, shape: stateShape(s, room) }));
    const elements = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
    const bytes = (dtype: "f32" | "bf16", specs: readonly { shape: readonly number[]; dtype: string }[]) =>
      specs.reduce((sum, s) => {
        const stored = s.dtype === "f32" || s.dtype === "i64" ? s.dtype : dtype;
        return sum + elements(s.shape) * dtypeSize(stored);
      }, 0);
    return {
      family: description.family,
      width: description.width,
      vocabularySize: description.vocabularySize,
      blocks: description.blocks.map((b) => b.kind),
      parameters: tensors.reduce((sum, t) => sum + elements(t.shape), 0),
      bytes: { stored: files.bytes, f32: bytes("f32", tensors), bf16: bytes("bf16", tensors) },
      stateBytes: { f32: bytes("f32", states), bf16: bytes("bf16", states) },
      contextTokens: description.contextTokens,
      flopsPerToken: flops(description, tensors),
    };
  } finally {
    await files.close();
  }
}

/** Of the program for one token of one sequence. */
function flops(description: Parameters<typeof buildCausal>[0], parameters: readonly ModelTensor[]): number {
  const graph = new Graph(description.family);
  const T = graph.symbol("T", 1);
  const S = graph.symbol("S", 1);
  const tensors = new Map<string, Value>();
  for (const p of parameters) tensors.set(p.name, graph.parameter(p.name, "f32", p.programShape ?? p.shape));
  for (const s of blueprintOf(description).states) {
    const shape = stateShape(s, description.contextTokens ?? 0);
    tensors.set(s.name, graph.state(s.name, "f32", [1, ...shape]));
  }
  const context = {
    cuSeqlens: graph.cuSeqlens("cuSeqlens", S, T),
    stateIndex: graph.slots("stateIndex", S, 1),
    position: graph.input("position", "i64", [S]),
  };
  buildCausal(description, { maxLogits: 1 }, { graph, tokens: T, maxTokens: 1, dtype: "f32", tensors, context });
  return graph.cost().flops.evaluate(() => 1);
}
