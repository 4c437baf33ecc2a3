import { expected, UsageError } from "@krait/core";
import type { EncoderModel, Session } from "@krait/nn";
import type { AssembledChunk } from "./assemble.js";
import { type FeaturePart, featurePart } from "./features.js";

export interface RunChunksOptions {
  session: Session;
  /** Runs under way at a time: with two, a GPU begins a chunk while the features of the one before it are taken in. */
  depth: 1 | 2;
  signal?: AbortSignal | undefined;
  pause?: Pause | undefined;
}

/** A moment at which no run is under way and all that was given out has been taken in. */
export interface Pause {
  due(): boolean;
  take(): Promise<void>;
}

/**
 * Encodes chunks in their order and yields their features. While one is computed the next is assembled; nothing is read ahead of a
 * consumer that holds back by more than that. Ends `chunks`, and waits for what runs, however it is left.
 */
export async function* runChunks(
  model: EncoderModel,
  chunks: AsyncGenerator<AssembledChunk, void, undefined>,
  { session, depth, signal, pause }: RunChunksOptions,
): AsyncGenerator<FeaturePart, void, undefined> {
  const running: { features: Promise<Float32Array>; columns: AssembledChunk["columns"] }[] = [];
  let ahead: Promise<IteratorResult<AssembledChunk, void>> | undefined = chunks.next();
  try {
    for (;;) {
      const pausing = pause?.due() ?? false;
      if (pausing && running.length === 0) await pause!.take();
      while (ahead && running.length < depth && !(pausing && running.length > 0)) {
        // The first of two runs is not kept waiting for a chunk that is slow to come.
        const next: IteratorResult<AssembledChunk, void> | Float32Array = await (running[0]
          ? Promise.race([ahead, running[0].features])
          : ahead);
        if (next instanceof Float32Array) break;
        ahead = undefined;
        if (next.done || !next.value) break;
        const { chunk, columns } = next.value;
        const features = model.run(chunk, [session], signal, depth > 1);
        ahead = chunks.next();
        // Their errors are thrown when they are awaited, not while the run before is still going.
        features.catch(() => {});
        ahead.catch(() => {});
        running.push({ features, columns });
      }
      const first = running.shift();
      if (!first) return;
      yield featurePart(await first.features, model.dim, first.columns);
    }
  } finally {
    await Promise.allSettled([ahead, ...running.map((r) => r.features)]);
    await chunks.return();
  }
}

/**
 * Encodes a sequence that must be one chunk, since a layer of the model looks ahead. Ends `chunks` however it is left.
 *
 * @throws UsageError (NOT_CAUSAL) for a longer one
 */
export async function* runWhole(
  model: EncoderModel,
  chunks: AsyncGenerator<AssembledChunk, void, undefined>,
  signal?: AbortSignal,
): AsyncGenerator<FeaturePart, void, undefined> {
  try {
    const first = await chunks.next();
    if (first.done || !first.value) return;
    const { chunk, columns } = first.value;
    const features = await model.run(chunk, [], signal);
    const more = await chunks.next();
    if (!more.done) throw tooLongForARun(model.maxTokens);
    yield featurePart(features, model.dim, columns);
  } finally {
    await chunks.return();
  }
}

/** Of an encoder whose sequences must be whole. */
export function tooLongForARun(maxTokens: number): UsageError {
  const what = `a sequence of at most ${maxTokens} tokens`;
  return new UsageError(expected(what, "a stack with layers that look ahead", "a longer one"), {
    code: "NOT_CAUSAL",
    hint: "It is run whole: load the encoder with a larger chunkTokens, or give it less.",
  });
}
