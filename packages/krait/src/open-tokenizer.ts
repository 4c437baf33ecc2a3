import { join } from "node:path";
import { expected, InputError, type Limits } from "@krait/core";
import type { EncoderConfig } from "@krait/nn";
import { createTextTokenizer, type TextTokenizer } from "@krait/tokenizers";

/**
 * The tokenizer that a config names: bytes, or a file in the model's folder (none for a seeded model).
 *
 * @throws InputError (INVALID_CONFIG) and what `createTextTokenizer` throws
 */
export async function openTokenizer(
  { tokenizer: name, vocabularySize }: NonNullable<EncoderConfig["inputs"]["text"]>,
  folder: string | undefined,
  limits: Limits,
): Promise<TextTokenizer> {
  if (name === "bytes") return createTextTokenizer({ kind: "bytes", limits });
  if (folder === undefined || !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
    throw new InputError(expected('"bytes" or the name of a file beside config.json', "inputs.text.tokenizer", name), {
      code: "INVALID_CONFIG",
      hint: "Put the file beside config.json and give its name alone.",
    });
  }
  const tokenizer = await createTextTokenizer({ file: join(folder, name), limits });
  if (tokenizer.vocabularySize <= vocabularySize) return tokenizer;
  throw new InputError(expected(`at least ${tokenizer.vocabularySize}`, "inputs.text.vocabularySize", vocabularySize), {
    code: "INVALID_CONFIG",
    hint: "The tokenizer makes ids that the embedding does not have.",
  });
}
