import type { AudioPart } from "@krait/media";
import { gateSpeech, openSileroVad, type SpeechPart } from "@krait/tokenizers";
import type { AudioSource } from "./sources.js";

/** The passages of a signal in which speech is heard. The model is opened with the first part, and closed with the last. */
export async function* onlySpeech(
  parts: AsyncIterable<AudioPart>,
  { model, ...gate }: NonNullable<AudioSource["options"]["speech"]>,
  signal: AbortSignal | undefined,
): AsyncGenerator<SpeechPart, void, undefined> {
  const vad = await openSileroVad(model, { signal });
  try {
    yield* gateSpeech(parts, vad, { ...gate, signal });
  } finally {
    await vad.close();
  }
}
