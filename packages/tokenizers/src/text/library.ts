import { type LibraryDecoder, type LibraryPreTokenizer, type LibraryTokenizer, library } from "./library-types.js";
import { invalid, type TokenizerFile } from "./tokenizer-file.js";

type Config = Record<string, unknown> | null;

/**
 * Builds the library's tokenizer and mends where version 0.2.0 departs from the reference implementation (the Rust crate
 * `tokenizers`):
 * - Metaspace does not split at its mark (`split`, on by default), so that a whole text became one word;
 * - Metaspace reads `prepend_scheme` alone and not the older `add_prefix_space: false`;
 * - the Metaspace decoder drops one mark of the first token where the reference drops all, or none for "never";
 * - the ByteFallback decoder swallows a byte order mark;
 * - the ByteLevel decoder turns characters outside its alphabet into NUL.
 * Left as it is: in a run of byte tokens that is no UTF-8 the library replaces the bad bytes, the reference all of them.
 *
 * Throws `InputError` (TOKENIZER_INVALID).
 */
export function buildTokenizer(path: string, json: TokenizerFile): LibraryTokenizer {
  const preTokenizer = withScheme(json.pre_tokenizer);
  const decoder = withScheme(json.decoder);
  let tokenizer: LibraryTokenizer;
  try {
    tokenizer = new library.Tokenizer({ ...json, pre_tokenizer: preTokenizer, decoder }, {});
  } catch (cause) {
    throw invalid(path, "components the library knows", (cause as Error).message, cause);
  }
  if (tokenizer.pre_tokenizer) mendPreTokenizer(tokenizer.pre_tokenizer, preTokenizer);
  const added = new Set(json.added_tokens.map((token) => token.content));
  if (tokenizer.decoder) mendDecoder(tokenizer.decoder, decoder, added);
  return tokenizer;
}

function children(config: Config, key: string): Config[] {
  const list = config?.[key];
  return Array.isArray(list) ? (list as Config[]) : [];
}

function withScheme(config: Config): Config {
  if (config === null) return null;
  if (config.type === "Metaspace" && config.prepend_scheme === undefined && config.add_prefix_space === false)
    return { ...config, prepend_scheme: "never" };
  const copy = { ...config };
  for (const key of ["pretokenizers", "decoders"])
    if (Array.isArray(config[key])) copy[key] = children(config, key).map(withScheme);
  return copy;
}

function mendPreTokenizer(instance: LibraryPreTokenizer, config: Config): void {
  const parts = instance.tokenizers ?? [];
  children(config, "pretokenizers").forEach((part, i) => {
    if (parts[i]) mendPreTokenizer(parts[i], part);
  });
  if (!(instance instanceof library.MetaspacePreTokenizer) || config?.split === false) return;
  const whole = instance.pre_tokenize_text.bind(instance);
  const mark = instance.replacement;
  instance.pre_tokenize_text = (text, options) => whole(text, options).flatMap((word) => splitBefore(word, mark));
}

/** Each piece but the first begins with the mark. */
function splitBefore(text: string, mark: string): string[] {
  const pieces: string[] = [];
  let from = 0;
  for (let at = text.indexOf(mark, 1); at > 0; at = text.indexOf(mark, at + 1)) {
    pieces.push(text.slice(from, at));
    from = at;
  }
  pieces.push(text.slice(from));
  return pieces;
}

function mendDecoder(instance: LibraryDecoder, config: Config, added: ReadonlySet<string>): void {
  const parts = instance.decoders ?? [];
  children(config, "decoders").forEach((part, i) => {
    if (parts[i]) mendDecoder(parts[i], part, added);
  });
  if (instance instanceof library.MetaspaceDecoder) {
    const mark = instance.replacement;
    const first = config?.prepend_scheme === "never" ? " " : "";
    instance.decode_chain = (tokens) => tokens.map((token, i) => token.replaceAll(mark, i === 0 ? first : " "));
  } else if (instance instanceof library.ByteFallbackDecoder) {
    instance.text_decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  } else if (instance instanceof library.ByteLevelDecoder) {
    instance.decode_chain = (tokens) => [decodeByteLevel(tokens, added)];
  }
}

/** The printable stand-ins of the 256 bytes, after GPT-2's encoder.py. */
const byteOfCharacter = new Map<string, number>();
for (let byte = 0, next = 256; byte < 256; byte++) {
  const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  byteOfCharacter.set(String.fromCharCode(printable ? byte : next++), byte);
}

function decodeByteLevel(tokens: readonly string[], added: ReadonlySet<string>): string {
  const bytes: number[] = [];
  for (const token of tokens) {
    const mapped = added.has(token) ? [] : Array.from(token, (character) => byteOfCharacter.get(character));
    if (mapped.length > 0 && !mapped.includes(undefined)) for (const byte of mapped) bytes.push(byte!);
    else for (const byte of new TextEncoder().encode(token)) bytes.push(byte);
  }
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}
