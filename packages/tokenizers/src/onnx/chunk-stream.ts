import { expected, InputError, parseOptions, UsageError } from "@krait/core";
import { z } from "zod";
import type { OnnxModel, OnnxSession } from "./model.js";
import type { OnnxTensor } from "./types.js";

const chunkSchema = z.strictObject({
  /** Names in the model: the input that takes the rows, the output that gives features. */
  input: z.string().min(1),
  output: z.string().min(1),
  /** New rows of a run. */
  chunk: z
    .number()
    .int()
    .min(1)
    .max(2 ** 24),
  /** Rows in front of them that the run before has seen already; `fill` in the first run. */
  context: z
    .number()
    .int()
    .min(0)
    .max(2 ** 24)
    .default(0),
  /** Numbers of a row: 1 for samples, bins for a spectrogram. */
  rowSize: z
    .number()
    .int()
    .min(1)
    .max(2 ** 20)
    .default(1),
  /** How rows lie in the input: `samples` [1, rows], `rows` [1, rows, rowSize] or `columns` [1, rowSize, rows]. */
  layout: z.enum(["samples", "rows", "columns"]).default("rows"),
  /** What lies in front of the first row and behind the last. */
  fill: z.number().default(0),
  /** Seconds from one row to the next, and of the first row. */
  period: z.number().positive(),
  start: z.number().default(0),
  /** Inputs that are the same in every run, by name. */
  constants: z
    .record(
      z.string(),
      z.custom<OnnxTensor>((v) => typeof v === "object" && v !== null, "a tensor"),
    )
    .default({}),
  signal: z.instanceof(AbortSignal).optional(),
});
export type OnnxChunkOptions = Omit<z.input<typeof chunkSchema>, "signal"> & { signal?: AbortSignal | undefined };

/** What one run makes of its new rows: `features` [tokens, dim]. Token i lies at start + i · period, the last ends at `end`. */
export interface OnnxChunk {
  readonly features: Float32Array;
  readonly tokens: number;
  readonly dim: number;
  /** Seconds. */
  readonly start: number;
  readonly end: number;
  /** Seconds of a token. */
  readonly period: number;
}

/**
 * Feeds rows that arrive in pieces to a model in chunks of a fixed size, with the state that the model declares carried from run to run:
 * however the rows are cut, the features are the same. Of the last chunk, which `fill` completes, only the tokens over rows are kept.
 *
 * The output is [1, tokens, dim], or [1, dim] for one token per chunk; its tokens share the chunk's time evenly. Holds one chunk.
 */
export class OnnxChunkStream {
  private readonly options: z.output<typeof chunkSchema>;
  private readonly session: OnnxSession;
  /** Context, then new rows, row by row. */
  private readonly window: Float32Array;
  private filled: number;
  private rows = 0;
  private status: "open" | "busy" | "finished" = "open";

  /** Throws `UsageError` (INVALID_OPTION). The model stays open. */
  constructor(model: OnnxModel, given: OnnxChunkOptions) {
    this.options = parseOptions(chunkSchema, given, "OnnxChunkStream");
    const { layout, rowSize, context, chunk, fill } = this.options;
    parseOptions(z.literal(true, "rowSize 1 for samples"), layout !== "samples" || rowSize === 1, "OnnxChunkStream");
    this.session = model.session();
    this.window = new Float32Array((context + chunk) * rowSize).fill(fill);
    this.filled = context * rowSize;
  }

  /**
   * Takes whole rows [n, rowSize] and returns what they complete. One call at a time.
   *
   * @throws UsageError (STREAM_NOT_OPEN, SHAPE_MISMATCH), InputError (ONNX_RUN_FAILED, ONNX_MISMATCH), AbortedError
   */
  push(values: Float32Array): Promise<OnnxChunk[]> {
    return this.exclusively("open", async () => {
      const { rowSize } = this.options;
      if (values.length % rowSize !== 0) {
        throw new UsageError(expected(`rows of ${rowSize} numbers`, "push()", values.length), {
          code: "SHAPE_MISMATCH",
          hint: "Give whole rows.",
        });
      }
      const done: OnnxChunk[] = [];
      for (let at = 0; at < values.length; ) {
        const count = Math.min(this.window.length - this.filled, values.length - at);
        this.window.set(values.subarray(at, at + count), this.filled);
        this.filled += count;
        at += count;
        if (this.filled === this.window.length) done.push(await this.run());
      }
      return done;
    });
  }

  /** What is left: nothing where the last chunk was whole. Throws as `push`. */
  finish(): Promise<OnnxChunk[]> {
    return this.exclusively("finished", async () => {
      const { context, rowSize, fill } = this.options;
      if (this.filled === context * rowSize) return [];
      this.window.fill(fill, this.filled);
      return [await this.run()];
    });
  }

  private async run(): Promise<OnnxChunk> {
    const { input, output, constants, chunk, context, rowSize, period, start, signal } = this.options;
    const results = await this.session.run({ [input]: this.tensor(), ...constants }, { signal });
    const { shape, data } = results[output] ?? { shape: [], data: undefined };
    const [one, tokens, dim] = shape.length === 2 ? [shape[0], 1, shape[1]!] : [shape[0], shape[1]!, shape[2]!];
    if (!(data instanceof Float32Array) || one !== 1 || (shape.length !== 2 && shape.length !== 3)) {
      throw new InputError(expected("f32 [1, tokens, dim] or [1, dim]", `the output ${output}`, `[${shape}]`), {
        code: "ONNX_MISMATCH",
        hint: "Declare the output, and name one that has features.",
      });
    }
    const count = this.filled / rowSize - context;
    const kept = Math.ceil((tokens * count) / chunk);
    const from = start + this.rows * period;
    this.rows += count;
    this.window.copyWithin(0, chunk * rowSize);
    this.filled = context * rowSize;
    return {
      features: data.slice(0, kept * dim),
      tokens: kept,
      dim,
      start: from,
      end: start + this.rows * period,
      period: (chunk * period) / tokens,
    };
  }

  private tensor(): OnnxTensor {
    const { layout, rowSize } = this.options;
    const rows = this.window.length / rowSize;
    if (layout === "samples") return { shape: [1, rows], data: this.window };
    if (layout === "rows") return { shape: [1, rows, rowSize], data: this.window };
    const data = new Float32Array(this.window.length);
    for (let r = 0; r < rows; r++) {
      for (let k = 0; k < rowSize; k++) data[k * rows + r] = this.window[r * rowSize + k]!;
    }
    return { shape: [1, rowSize, rows], data };
  }

  private async exclusively<T>(after: "open" | "finished", work: () => Promise<T>): Promise<T> {
    if (this.status !== "open") {
      throw new UsageError(expected("an open stream", "the model's stream", this.status), {
        code: "STREAM_NOT_OPEN",
        hint: this.status === "busy" ? "Await the call before." : "Open another stream.",
      });
    }
    this.status = "busy";
    try {
      return await work();
    } finally {
      this.status = after;
    }
  }
}
