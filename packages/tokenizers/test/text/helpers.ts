import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/text/${name}`, import.meta.url));
export const readFixture = (name: string) => JSON.parse(readFileSync(fixture(name), "utf8"));

export interface GoldenCase {
  text: string;
  ids: number[];
  decoded: string;
}

export const golden = readFixture("golden.json") as Record<"bytelevel_gpt2" | "metaspace_llama", GoldenCase[]>;
export const families = Object.keys(golden) as (keyof typeof golden)[];

/** mulberry32 */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const words = [
  ...[
    "Hello",
    "world",
    "the",
    "don't",
    "we'll",
    "3.14159",
    "-7e-3",
    "Übergrößenträger",
    "日本語の長い系列",
    "👩‍👩‍👧‍👦",
    "العربية",
    "עברית",
  ],
  ...["e\u0301", "ﬁ", "<|video|>", "<s>", "x".repeat(30), "(a+b)*c==d;", "\u0000", "\ufeff", "…"],
];
const gaps = [" ", " ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", ", ", ". ", " \n ", "\u00a0", "\u3000", ""];

/** Text of many scripts, kinds of space and marks, of at least `length` UTF-16 units. */
export function randomText(rng: () => number, length: number): string {
  let text = "";
  const pick = (list: readonly string[]) => list[Math.floor(rng() * list.length)]!;
  while (text.length < length) text += pick(words) + pick(gaps);
  return text;
}
