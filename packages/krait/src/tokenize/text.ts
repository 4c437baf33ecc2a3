import { createTextTokenizer, readTextSource } from "@krait/tokenizers";
import { createRowFile } from "../row-file.js";
import type { TokenizePlan } from "./options.js";

/** Writes `ids` i32 [tokens] of a file of UTF-8 text, with what the tokenizer's template puts around it. Returns their number. */
export async function tokenizeText(
  path: string,
  plan: TokenizePlan,
  metadata: Record<string, string>,
): Promise<number> {
  const { limits, signal } = plan;
  const tokenizer = await createTextTokenizer({
    ...(plan.tokenizer === undefined ? { kind: "bytes" } : { file: plan.tokenizer }),
    ...(limits && { limits }),
  });
  const words = await readTextSource({ file: path }, { ...(limits && { limits }), ...(signal && { signal }) });
  const writer = await createRowFile(plan.out, {
    tensors: { ids: { dtype: "i32", rowShape: [] } },
    metadata: { ...metadata, tokenizer: tokenizer.id },
  });
  try {
    for await (const ids of tokenizer.encodeStream(words, signal ? { signal } : {})) {
      await writer.append({ ids }, ids.length);
      plan.onProgress?.({ stage: "tokenize", mediaSeconds: 0, tokens: writer.rows, elapsedSeconds: 0 });
    }
    const { rows } = writer;
    await writer.finish(signal ? { signal } : {});
    return rows;
  } finally {
    await writer.abort();
  }
}
