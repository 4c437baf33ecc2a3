import { expected, UsageError } from "@krait/core";

/** Tokens that no vocabulary holds: rows [n, width] that take the place of rows of the embedding table. */
export interface SoftTokens {
  soft: Float32Array;
}

/** A stretch of a prompt: token ids, or soft tokens. */
export type PromptPart = ArrayLike<number> | SoftTokens;
/** Token ids alone, or stretches one after the other. */
export type PromptInput = ArrayLike<number> | readonly PromptPart[];

interface Segment {
  count: number;
  /** Ids, or rows of `width` elements. */
  ids?: ArrayLike<number>;
  soft?: Float32Array;
}

/** The tokens of a prompt, whatever they are made of. */
export class Prompt {
  readonly length: number;

  private constructor(
    readonly segments: readonly Segment[],
    private readonly width: number,
  ) {
    this.length = segments.reduce((sum, s) => sum + s.count, 0);
  }

  /** @throws UsageError (INVALID_OPTION) when soft tokens are not rows of the model's width */
  static of(input: PromptInput | Prompt, width: number): Prompt {
    if (input instanceof Prompt) return input;
    const parts = isParts(input) ? input : [input];
    const segments = parts.map((part): Segment => {
      if (!("soft" in part)) return { count: part.length, ids: part };
      const { soft } = part;
      if (!(soft instanceof Float32Array) || soft.length % width !== 0) {
        throw new UsageError(expected(`a Float32Array of rows of ${width} numbers`, "soft tokens", soft), {
          code: "INVALID_OPTION",
          hint: "A projector makes them: its width is the model's.",
        });
      }
      return { count: soft.length / width, soft };
    });
    return new Prompt(
      segments.filter((s) => s.count > 0),
      width,
    );
  }

  get hasSoft(): boolean {
    return this.segments.some((s) => s.soft);
  }

  /** The ids among the tokens. */
  get ids(): number[] {
    return this.segments.flatMap((s) => (s.ids ? Array.from(s.ids) : []));
  }

  /** As it can be given again. */
  get input(): number[] | PromptPart[] {
    if (!this.hasSoft) return this.ids;
    return this.segments.map((s) => (s.soft ? { soft: s.soft } : Array.from(s.ids!)));
  }

  /** Tokens [from, to). */
  slice(from: number, to: number): Prompt {
    const segments: Segment[] = [];
    let start = 0;
    for (const { count, ids, soft } of this.segments) {
      const [a, b] = [Math.max(0, from - start), Math.min(count, to - start)];
      start += count;
      if (a >= b) continue;
      if (soft) segments.push({ count: b - a, soft: soft.subarray(a * this.width, b * this.width) });
      else segments.push({ count: b - a, ids: Array.prototype.slice.call(ids, a, b) });
    }
    return new Prompt(segments, this.width);
  }
}

function isParts(input: PromptInput): input is readonly PromptPart[] {
  return input.length > 0 && typeof input[0] === "object";
}
