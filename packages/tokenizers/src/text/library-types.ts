import type { TextDecoder } from "node:util";
import * as untyped from "@huggingface/tokenizers";

// The package's own declarations import without extensions, which Node's resolution turns into `any`: the part used here
// is declared by hand.

export interface LibraryPreTokenizer {
  pre_tokenize(text: string, options?: object): string[];
  pre_tokenize_text(text: string, options?: object): string[];
  /** Of a sequence. */
  tokenizers?: (LibraryPreTokenizer | null)[];
}

export interface LibraryMetaspace extends LibraryPreTokenizer {
  replacement: string;
}

export interface LibraryDecoder {
  decode_chain(tokens: string[]): string[];
  /** Of a sequence. */
  decoders?: (LibraryDecoder | null)[];
}

export interface LibraryTokenizer {
  readonly normalizer: { normalize(text: string): string } | null;
  readonly pre_tokenizer: LibraryPreTokenizer | null;
  readonly post_processor: {
    post_process(tokens: string[], pair: null, addSpecialTokens: boolean): { tokens: string[] };
  } | null;
  readonly decoder: LibraryDecoder | null;
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[]; tokens: string[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  get_added_tokens_decoder(): Map<number, { content: string }>;
  /** Token to id; the key of a gap in the ids is undefined. */
  get_vocab(): Map<string | undefined, number>;
}

interface Library {
  Tokenizer: new (json: object, config: object) => LibraryTokenizer;
  MetaspacePreTokenizer: new (config: object) => LibraryMetaspace;
  MetaspaceDecoder: new (config: object) => LibraryDecoder & { replacement: string };
  ByteFallbackDecoder: new (config: object) => LibraryDecoder & { text_decoder: TextDecoder };
  ByteLevelDecoder: new (config: object) => LibraryDecoder;
}

export const library = untyped as unknown as Library;
