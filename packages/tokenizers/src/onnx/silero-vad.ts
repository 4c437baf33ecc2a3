import { type Closable, expected, UsageError } from "@krait/core";
import { checkSamples } from "../audio/samples.js";
import { type OnnxModel, type OnnxSession, openOnnx } from "./model.js";

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
    return new VadStream(this.model.session(), options.signal);
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
  /** 64 samples of context, then the window. */
  private readonly input = new Float32Array(contextSize + windowSize);
  private filled = contextSize;
  private busy = false;

  /** @internal use SileroVad.stream */
  constructor(
    private readonly session: OnnxSession,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** Takes mono samples at 16 kHz, full scale ±1. Throws as `LogMelStream.push`, and `ONNX_RUN_FAILED`. */
  async push(samples: Float32Array): Promise<Float32Array> {
    checkSamples(samples, 0);
    return this.exclusively(async () => {
      const probabilities: number[] = [];
      for (let at = 0; at < samples.length; ) {
        const count = Math.min(this.input.length - this.filled, samples.length - at);
        this.input.set(samples.subarray(at, at + count), this.filled);
        this.filled += count;
        at += count;
        if (this.filled === this.input.length) probabilities.push(await this.decide());
      }
      return Float32Array.from(probabilities);
    });
  }

  /** The decision over the samples that are left, silence behind them; none when there are none. */
  finish(): Promise<Float32Array> {
    return this.exclusively(async () => {
      if (this.filled === contextSize) return new Float32Array(0);
      this.input.fill(0, this.filled);
      return Float32Array.of(await this.decide());
    });
  }

  private async decide(): Promise<number> {
    const { output } = await this.session.run(
      {
        input: { shape: [1, this.input.length], data: this.input },
        sr: { shape: [], data: BigInt64Array.of(BigInt(sampleRate)) },
      },
      { signal: this.signal },
    );
    this.input.copyWithin(0, windowSize);
    this.filled = contextSize;
    return Number(output!.data[0]);
  }

  private async exclusively<T>(work: () => Promise<T>): Promise<T> {
    if (this.busy) {
      throw new UsageError(expected("one call at a time", "a VAD stream", "a second one"), {
        code: "STREAM_NOT_OPEN",
        hint: "Await the call before.",
      });
    }
    this.busy = true;
    try {
      return await work();
    } finally {
      this.busy = false;
    }
  }
}
