import { expected, InternalError, parseOptions } from "@krait/core";
import { z } from "zod";
import { type Random, seededRandom } from "../init.js";

export const samplingSchema = z.strictObject({
  /** 0 takes the likeliest token always. */
  temperature: z.number().min(0).max(100).default(0),
  /** Only the so many likeliest tokens; 0 for all. */
  topK: z.int().min(0).default(0),
  /** Only the likeliest tokens that together have this probability (Holtzman et al. 2019). */
  topP: z.number().gt(0).max(1).default(1),
  /** Only tokens at least so likely, as a share of the likeliest (Nguyen et al. 2024). */
  minP: z.number().min(0).max(1).default(0),
  /** Divides positive logits of tokens that were there before, and multiplies negative ones (Keskar et al. 2019). */
  repetitionPenalty: z.number().gt(0).max(100).default(1),
  seed: z.int().min(0).default(0),
});
export type SamplingOptions = z.input<typeof samplingSchema>;
type Parsed = z.output<typeof samplingSchema>;

/** Logits this far (in units of the temperature) under the best have a probability of nothing in float64 sums. */
const FAR = 60;

/** Draws tokens for one sequence; its numbers depend on its seed alone. */
export class Sampler {
  private readonly options: Parsed;
  private readonly random: Random;
  private drawn = 0;
  private readonly seen = new Set<number>();

  /** @throws UsageError (INVALID_OPTION) */
  constructor(options: SamplingOptions = {}) {
    this.options = parseOptions(samplingSchema, options, "generation");
    this.random = seededRandom(this.options.seed, "sampling");
  }

  /** Numbers drawn so far: what a snapshot needs besides the tokens. */
  get draws(): number {
    return this.drawn;
  }

  /** Goes on where a sampler with the same seed was after so many draws. */
  skip(draws: number): void {
    while (this.drawn < draws) this.draw();
  }

  /** Tokens that the repetition penalty counts: the prompt's and those drawn before. */
  see(tokens: Iterable<number>): void {
    for (const token of tokens) this.seen.add(token);
  }

  /** The next token after logits [vocabularySize], which it may change. */
  next(logits: Float32Array): number {
    const { temperature, repetitionPenalty: penalty } = this.options;
    if (penalty !== 1) {
      for (const token of this.seen) logits[token]! *= logits[token]! > 0 ? 1 / penalty : penalty;
    }
    const best = largest(logits);
    if (!Number.isFinite(logits[best]))
      throw new InternalError(expected("finite logits", "the next token", logits[best]));
    const token = temperature === 0 ? best : this.pick(logits, best);
    this.seen.add(token);
    return token;
  }

  private pick(logits: Float32Array, best: number): number {
    const { temperature, topK, topP, minP } = this.options;
    const top = logits[best]!;
    const floor = top - FAR * temperature;
    const tokens: number[] = [];
    for (let i = 0; i < logits.length; i++) if (logits[i]! >= floor) tokens.push(i);
    // Likeliest first, the lower id of equals: the order in which probabilities are added up never changes.
    tokens.sort((a, b) => logits[b]! - logits[a]! || a - b);
    let count = topK > 0 ? Math.min(topK, tokens.length) : tokens.length;
    const weights = Float64Array.from({ length: count }, (_, i) => Math.exp((logits[tokens[i]!]! - top) / temperature));
    let total = weights.reduce((a, b) => a + b, 0);
    if (topP < 1) {
      let sum = 0;
      let kept = 0;
      while (kept < count && sum < topP * total) sum += weights[kept++]!;
      count = kept;
      total = sum;
    }
    while (count > 1 && weights[count - 1]! < minP) total -= weights[--count]!;
    let left = this.draw() * total;
    for (let i = 0; i < count; i++) {
      left -= weights[i]!;
      if (left < 0) return tokens[i]!;
    }
    return tokens[count - 1]!;
  }

  private draw(): number {
    this.drawn++;
    return this.random();
  }
}

/** Index of the largest element, the first of equals. */
export function largest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
