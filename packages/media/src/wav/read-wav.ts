import { InputError, type LimitsInput, limitsSchema, parseOptions, throwIfAborted } from "@krait/core";
import { z } from "zod";
import { checkDuration, truncated } from "../media-errors.js";
import { openSource } from "../open-source.js";
import { openWav } from "./wav-file.js";

export interface WavAudio {
  /** Mean of the channels, full scale ±1, at the file's own rate. */
  samples: Float32Array;
  /** Hertz. */
  sampleRate: number;
  /** In the file. */
  channels: number;
  durationSeconds: number;
}

const optionsSchema = z.strictObject({ limits: limitsSchema.optional(), signal: z.instanceof(AbortSignal).optional() });

/**
 * Reads a whole wav file (PCM 8 to 32 bits, float, A-law, mu-law; plain or extensible) without ffmpeg.
 *
 * A data size that a streaming writer left open (0, 0xFFFFFFFF) means to the end of the file; a size beyond the end
 * throws MEDIA_TRUNCATED. At most `limits.maxResultBytes` are returned; use `decode` for longer files.
 *
 * Throws `InputError`: the SOURCE_ codes of `openSource`, MEDIA_INVALID, MEDIA_TRUNCATED, MEDIA_UNSUPPORTED,
 * MEDIA_TOO_LONG, MEDIA_TOO_MANY_CHANNELS, RESULT_TOO_LARGE, SAMPLES_NOT_FINITE.
 */
export async function readWav(
  path: string,
  options: { limits?: LimitsInput | undefined; signal?: AbortSignal | undefined } = {},
): Promise<WavAudio> {
  const { limits: given, signal } = parseOptions(optionsSchema, options, "readWav()");
  const limits = given ?? limitsSchema.parse({});
  throwIfAborted(signal, "reading");
  const source = await openSource(path);
  if (source.kind !== "wav") {
    throw new InputError(`Expected a RIFF/WAVE file for ${source.path} but received other bytes`, {
      code: "MEDIA_INVALID",
      hint: "Use decode(), which reads other formats through ffmpeg.",
    });
  }
  const wav = await openWav(source, limits);
  try {
    const { blocks, declaredBlocks, sampleRate, channels } = wav.header;
    checkDuration(wav.durationSeconds, source.path, limits);
    if (blocks < declaredBlocks) throw truncated(source.path, `${blocks} of ${declaredBlocks} samples`);
    if (blocks * 4 > limits.maxResultBytes) {
      throw new InputError(
        `Expected at most ${limits.maxResultBytes} bytes of samples for ${source.path} but received ${blocks * 4}`,
        {
          code: "RESULT_TOO_LARGE",
          hint: "Use decode(), which yields the samples part by part, or raise limits.maxResultBytes.",
        },
      );
    }
    const samples = new Float32Array(blocks);
    let done = 0;
    for await (const piece of wav.mono(0, blocks)) {
      throwIfAborted(signal, "reading");
      samples.set(piece, done);
      done += piece.length;
    }
    if (done < blocks) throw truncated(source.path, `${done} of ${blocks} samples`);
    return { samples, sampleRate, channels, durationSeconds: wav.durationSeconds };
  } finally {
    await wav.close();
  }
}
