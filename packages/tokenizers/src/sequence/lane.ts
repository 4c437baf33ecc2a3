import { expected, InputError, UsageError } from "@krait/core";
import type { TokenBlock, TokenSource } from "./types.js";
import { lowerBound } from "./windows.js";

/** Times beyond this are not times: 31 years in seconds. Far inside the range where window numbers are exact. */
const maxTimeSeconds = 1e9;

interface Piece {
  block: TokenBlock;
  from: number;
}

/** One source as `interleave` reads it: checked blocks in order, pulled up to a border and no further. */
export class Lane {
  readonly modality: TokenSource["modality"];
  readonly timed: boolean;
  /** Greatest end of all tokens pulled so far, in seconds. */
  maxEnd = Number.NEGATIVE_INFINITY;
  #iterator: AsyncIterator<TokenBlock> | undefined;
  #pulling = false;
  #done = false;
  #lastStart = Number.NEGATIVE_INFINITY;
  readonly #pieces: Piece[] = [];

  constructor(
    readonly source: TokenSource,
    readonly index: number,
    readonly maxWindowTokens: number,
  ) {
    this.modality = source.modality;
    this.timed = source.timed;
  }

  /** The next block with at least one token, or `undefined` at the end. */
  async pull(): Promise<TokenBlock | undefined> {
    while (!this.#done) {
      this.#iterator ??= this.source[Symbol.asyncIterator]();
      this.#pulling = true;
      let result: IteratorResult<TokenBlock>;
      try {
        result = await this.#iterator.next();
      } catch (error) {
        this.#done = true;
        throw error;
      } finally {
        this.#pulling = false;
      }
      if (result.done) {
        this.#done = true;
        return undefined;
      }
      this.#check(result.value);
      if (result.value.count > 0) return result.value;
    }
    return undefined;
  }

  /** Pulls until a token at or after `border` (seconds) is at hand, or the source ends. */
  async fill(border: number): Promise<void> {
    let held = 0;
    for (const { block, from } of this.#pieces) held += lowerBound(block.start, from, block.count, border) - from;
    while (!this.#done && !(this.#pieces.length > 0 && this.#lastStart >= border)) {
      const block = await this.pull();
      if (block === undefined) return;
      this.#pieces.push({ block, from: 0 });
      held += lowerBound(block.start, 0, block.count, border);
      if (held > this.maxWindowTokens) {
        throw new InputError(expected(`at most ${this.maxWindowTokens} tokens in one window`, this.#name, held), {
          code: "WINDOW_TOO_DENSE",
          hint: "The times of this source hardly advance; lower its rate or resolution, or raise maxWindowTokens.",
        });
      }
    }
  }

  /** Start of the next token in seconds; infinite when none is at hand. */
  get head(): number {
    const piece = this.#pieces[0];
    return piece === undefined ? Number.POSITIVE_INFINITY : piece.block.start[piece.from]!;
  }

  /** Takes tokens of the front block, up to the first at which `stop` says so. */
  take(stop: (starts: Float64Array, from: number, to: number) => number): {
    block: TokenBlock;
    from: number;
    to: number;
  } {
    const piece = this.#pieces[0]!;
    const { block, from } = piece;
    const to = stop(block.start, from, block.count);
    if (to === block.count) this.#pieces.shift();
    else piece.from = to;
    return { block, from, to };
  }

  /** Ends the source early. A source that is stuck in next() is told but not waited for. */
  async close(): Promise<void> {
    if (this.#done || this.#iterator === undefined) return;
    this.#done = true;
    this.#pieces.length = 0;
    const closing = Promise.resolve(this.#iterator.return?.()).then(
      () => undefined,
      () => undefined,
    );
    if (!this.#pulling) await closing;
  }

  get #name(): string {
    return `source ${this.index} of the sequence`;
  }

  #check(block: TokenBlock): void {
    const { count, start, end } = block;
    if (block.modality !== this.modality) {
      throw new UsageError(expected(`blocks of modality ${this.modality}`, this.#name, block.modality), {
        code: "MODALITY_MISMATCH",
        hint: "A source yields one modality; give each modality a source of its own.",
      });
    }
    const columns = this.timed ? [start, end, block.row, block.column] : [block.row, block.column];
    for (const column of columns) {
      if (column.length === count) continue;
      throw new UsageError(expected(`columns of ${count} tokens`, `a block of ${this.#name}`, column.length), {
        code: "BLOCK_SHAPE",
        hint: "start, end, row and column each hold `count` entries.",
      });
    }
    if (!this.timed) return;
    for (let i = 0; i < count; i++) {
      const from = start[i]!;
      const to = end[i]!;
      if (!(Math.abs(from) <= maxTimeSeconds && Math.abs(to) <= maxTimeSeconds)) {
        throw this.#timesError("TIMES_OUT_OF_RANGE", "finite times within 31 years", from);
      }
      if (from < this.#lastStart) {
        throw this.#timesError("TIMES_FALL", `a start time of at least ${this.#lastStart} s`, from);
      }
      if (to < from) throw this.#timesError("TIMES_REVERSED", `an end time of at least ${from} s`, to);
      this.#lastStart = from;
      if (to > this.maxEnd) this.maxEnd = to;
    }
  }

  #timesError(code: string, what: string, received: number): InputError {
    return new InputError(expected(what, this.#name, received), {
      code,
      hint: "The time stamps of the input are damaged; remux it (ffmpeg -i in -c copy out) and try again.",
    });
  }
}
