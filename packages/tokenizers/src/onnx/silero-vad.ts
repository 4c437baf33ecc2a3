import type { Closable } from "@krait/core";
import { checkSamples } from "../audio/samples.js";
import { type OnnxChunk, OnnxChunkStream } from "./chunk-stream.js";
import { type OnnxModel, openOnnx } from "./model.js";

/** Samples per decision at 16 kHz (32 ms), and samples of the piece before that the model sees with them. */
const windowSize = 512;
const contextSize = 64;
const sampleRate = 16000;

/** Seconds that one decision covers. */
export const vadPeriod = windowSize / sampleRate;

/**
 * Silero VAD, version 5 and later, for 16 kHz: the file silero_vad.onnx or silero_vad_16k_op15.onnx of the project (MIT).
 * Throws what `openOnnx` throws.
 */
export async function openSileroVad(
  model: string,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<SileroVad> {
  const onnx = await openOnnx({
    model,
    inputs: {
      input: { dtype: "f32", shape: [1, contextSize + windowSize] },
      state: { dtype: "f32", shape: [2, 1, 128] },
      sr: { dtype: "i64", shape: [] },
    },
    outputs: { output: { dtype: "f32", shape: [1, 1] }, stateN: { dtype: "f32", shape: [2, 1, 128] } },
    state: { state: "stateN" },
    // One thread: the model is too small to share.
    threads: 1,
    signal: options.signal,
  });
  return new SileroVad(onnx);
}

export class SileroVad implements Closable {
  /** @internal use openSileroVad */
  constructor(private readonly model: OnnxModel) {}

  /** Starts a signal. Several may run side by side. */
  stream(options: { signal?: AbortSignal | undefined } = {}): VadStream {
    return new VadStream(this.model, options.signal);
  }

  close(): Promise<void> {
    return this.model.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Probabilities of speech, one per 512 samples; however the samples are cut, they are the same. One call at a time. */
export class VadStream {
  private readonly chunks: OnnxChunkStream;

  /** @internal use SileroVad.stream */
  constructor(model: OnnxModel, signal: AbortSignal | undefined) {
    this.chunks = new OnnxChunkStream(model, {
      input: "input",
      output: "output",
      chunk: windowSize,
      context: contextSize,
      layout: "samples",
      period: 1 / sampleRate,
      constants: { sr: { shape: [], data: BigInt64Array.of(BigInt(sampleRate)) } },
      signal,
    });
  }

  /** Takes mono samples at 16 kHz, full scale ±1. Throws as `LogMelStream.push`, and `ONNX_RUN_FAILED`. */
  async push(samples: Float32Array): Promise<Float32Array> {
    checkSamples(samples, 0);
    return probabilities(await this.chunks.push(samples));
  }

  /** The decision over the samples that are left, silence behind them; none when there are none. */
  async finish(): Promise<Float32Array> {
    return probabilities(await this.chunks.finish());
  }
}

function probabilities(chunks: readonly OnnxChunk[]): Float32Array {
  return Float32Array.from(chunks, ({ features }) => features[0]!);
}
