import { expected, InputError } from "@krait/core";
import { decodeUtf8 } from "./utf8.js";

export interface StrictJsonOptions {
  /** Bytes (or UTF-16 units, for a string) of the whole document. */
  maxBytes?: number;
  /** Levels of objects and arrays. */
  maxDepth?: number;
  /** Reads the bare words Infinity, -Infinity and NaN, which Python writes and RFC 8259 does not know, as `{ "__float__": word }`. */
  pythonNumbers?: boolean;
}

/**
 * JSON.parse for documents of strangers: what it lets pass in silence is refused here. RFC 8259 without duplicate keys
 * and without `__proto__` as a key, and bounded in size and depth.
 *
 * Throws `InputError` (JSON_TOO_LARGE, JSON_NOT_UTF8, JSON_TOO_DEEP, JSON_DUPLICATE_KEY, JSON_FORBIDDEN_KEY, JSON_SYNTAX).
 *
 * @param name what the document is, for messages: `config.json`, `the header of x.safetensors`
 */
export function parseStrictJson(source: string | Uint8Array, name: string, options: StrictJsonOptions = {}): unknown {
  const { maxBytes = 64 * 2 ** 20, maxDepth = 64, pythonNumbers = false } = options;
  if (source.length > maxBytes) {
    throw new InputError(expected(`at most ${maxBytes} bytes of JSON`, name, source.length), {
      code: "JSON_TOO_LARGE",
      hint: "No honest file is this large; raise the limit if this one is.",
    });
  }
  const text = typeof source === "string" ? source : decodeUtf8(source, name, "JSON_NOT_UTF8");
  try {
    checkKeys(text, name, maxDepth);
    return JSON.parse(pythonNumbers ? withoutBareNumbers(text) : text);
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(expected("JSON", name, text), {
      code: "JSON_SYNTAX",
      hint: `The file is damaged or is no JSON: ${(error as Error).message}`,
      cause: error,
    });
  }
}

// Objects hold the keys seen so far, arrays hold nothing.
type Level = Set<string> | undefined;

/** Walks strings and brackets only; that the rest is JSON is for JSON.parse to say. */
function checkKeys(text: string, name: string, maxDepth: number): void {
  const levels: Level[] = [];
  let keyNext = false;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x7b: // {
      case 0x5b: // [
        if (levels.length === maxDepth) {
          throw new InputError(expected(`at most ${maxDepth} levels of JSON`, name, `more at character ${i}`), {
            code: "JSON_TOO_DEEP",
            hint: "No honest file nests this deep.",
          });
        }
        keyNext = text[i] === "{";
        levels.push(keyNext ? new Set() : undefined);
        break;
      case 0x7d: // }
      case 0x5d: // ]
        levels.pop();
        keyNext = false;
        break;
      case 0x2c: // ,
        keyNext = levels[levels.length - 1] !== undefined;
        break;
      case 0x22: {
        const close = stringEnd(text, i + 1);
        if (keyNext) addKey(levels[levels.length - 1], text.slice(i, close + 1), name);
        keyNext = false;
        i = close;
        break;
      }
    }
  }
}

function stringEnd(text: string, from: number): number {
  let i = from;
  for (;;) {
    const quote = text.indexOf('"', i);
    if (quote < 0) return text.length;
    let slashes = 0;
    while (text.charCodeAt(quote - 1 - slashes) === 0x5c && quote - slashes > from) slashes++;
    if (slashes % 2 === 0) return quote;
    i = quote + 1;
  }
}

/** Bare words of numbers outside of strings, wrapped so that JSON can hold them. */
function withoutBareNumbers(text: string): string {
  const token = /"|-?Infinity|NaN/g;
  const pieces: string[] = [];
  let done = 0;
  for (let match = token.exec(text); match; match = token.exec(text)) {
    if (match[0] === '"') {
      token.lastIndex = stringEnd(text, match.index + 1) + 1;
      continue;
    }
    pieces.push(text.slice(done, match.index), `{"__float__":"${match[0]}"}`);
    done = token.lastIndex;
  }
  return pieces.length === 0 ? text : pieces.join("") + text.slice(done);
}

function addKey(keys: Level, quoted: string, name: string): void {
  const key = quoted.includes("\\") ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
  if (key === "__proto__") {
    throw new InputError(expected("harmless keys", name, key), {
      code: "JSON_FORBIDDEN_KEY",
      hint: "This key has no honest use in a data file; do not trust where the file came from.",
    });
  }
  if (keys?.has(key)) {
    throw new InputError(expected("every key once", name, `${key} twice`), {
      code: "JSON_DUPLICATE_KEY",
      hint: "Readers disagree on which of the two counts; write the file anew.",
    });
  }
  keys?.add(key);
}
