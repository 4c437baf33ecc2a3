import { defaultLimits, expected, UsageError } from "@krait/core";
import type { Projector, PromptPart } from "@krait/nn";
import type { TextTokenizer } from "@krait/tokenizers";
import type { Encoder } from "../encoder.js";
import type { Pool } from "../pool.js";
import { readWords } from "../read-words.js";
import type { Source } from "../sources.js";

/** What makes soft tokens of media. */
export interface MediaReader {
  encoder: Encoder;
  projector: Projector;
  pool: Pool;
}

/**
 * A prompt of sources: texts are tokenized where they stand, subtitles as their lines; media that stand together are encoded as one sequence, ordered by time,
 * and projected.
 *
 * @throws UsageError (INVALID_OPTION) for media without an encoder, and what `encode` and `readWords` throw
 */
export async function readPrompt(
  sources: readonly Source[],
  tokenizer: TextTokenizer,
  media: MediaReader | undefined,
  signal: AbortSignal | undefined,
): Promise<PromptPart[]> {
  const parts: PromptPart[] = [];
  for (let i = 0; i < sources.length; ) {
    const source = sources[i]!;
    if (source.kind === "text") {
      const words = await readWords(source, { limits: defaultLimits, signal });
      const line = "text" in words ? words.text : Array.from(words.cues, ({ text }) => text).join("\n");
      parts.push(tokenizer.encode(line));
      i++;
      continue;
    }
    const end = sources.findIndex((s, at) => at > i && s.kind === "text");
    const group = sources.slice(i, end < 0 ? sources.length : end);
    if (!media) {
      throw new UsageError(expected("texts alone", "a prompt of this model", source.kind), {
        code: "INVALID_OPTION",
        hint: "Load the model with media: { encoder, projector } to give it video and sound.",
      });
    }
    const { data } = await media.encoder.encode(group, { pool: media.pool, signal });
    parts.push({ soft: await media.projector.project(data, signal) });
    i += group.length;
  }
  return parts;
}
