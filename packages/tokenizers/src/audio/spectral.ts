import { type Closable, parseOptions, UsageError } from "@krait/core";
import { frame, type Graph, linear, powerSpectrum, trace, unary } from "@krait/graph";
import type { Device, DeviceBuffer, Program } from "@krait/runtime";
import { z } from "zod";
import { type FrameGrid, type FrameRun, FrameStream, type FrameStreamOptions, frameSpan } from "./frame-stream.js";
import { type MelNormalization, openNormalizer, type RowStatistics, RowSurvey } from "./normalization.js";

/** A spectral front end in numbers: frames → power spectrum → · melᵀ + offset → scale · ln(max(·, low)) → normalisation. */
export interface SpectralDefinition {
  /** For messages. */
  readonly name: string;
  readonly grid: FrameGrid;
  /** Features of a row. */
  readonly bins: number;
  /** What is made of a frame: see the op `power_spectrum`. */
  readonly spectrum: {
    /** [grid.size], a gain included. */
    readonly window: Float32Array;
    readonly fftSize: number;
    readonly frequencies: number;
    readonly removeMean?: boolean;
    readonly preEmphasis?: number;
  };
  /** [bins, frequencies] */
  readonly mel: Float32Array;
  /** Added to the filtered powers. */
  readonly offset?: number;
  /** `undefined`: the powers themselves. */
  readonly log: { readonly low: number; readonly scale: number } | undefined;
  readonly normalization: MelNormalization;
}

export const spectralOptionsSchema = z.strictObject({
  /** Frames per run: more is faster, fewer come sooner. */
  chunkFrames: z.number().int().min(2).max(4096).default(256),
});
export type SpectralOptions = z.input<typeof spectralOptionsSchema>;

export interface SpectralStreamOptions extends FrameStreamOptions {
  /** What `survey()` found in a first pass; needed where the normalisation is "exact". */
  statistics?: RowStatistics | undefined;
}

/** The definition as a program: `signal` [T] of one sequence (borders `cuSeqlens` [0, T]) to `rows` [frames, bins]. */
export function spectralProgram(definition: SpectralDefinition, chunkFrames: number): Graph {
  const { grid, bins, log, offset } = definition;
  const { window: _, ...spectrum } = definition.spectrum;
  return trace(definition.name.replaceAll("-", "_"), (graph) => {
    const T = graph.symbol("T", frameSpan(grid, chunkFrames));
    const signal = graph.input("signal", "f32", [T]);
    const cuSeqlens = graph.cuSeqlens("cuSeqlens", 1, T);
    const window = graph.parameter("window", "f32", [grid.size]);
    const mel = graph.parameter("mel", "f32", [bins, spectrum.frequencies]);
    const bias = offset === undefined ? undefined : graph.parameter("offset", "f32", [bins]);
    const frames = frame({ x: signal, cuSeqlens }, { size: grid.size, hop: grid.hop }).y; // [F, size]
    const powers = powerSpectrum({ x: frames, window }, spectrum).y; // [F, frequencies]
    const filtered = linear({ x: powers, weight: mel, ...(bias && { bias }) }).y; // [F, bins]
    graph.output("rows", log ? unary({ x: filtered }, { kind: "log", ...log }).y : filtered);
  });
}

/** A spectral front end on a device; see `createSpectral`. Streams of one may run side by side. */
export class SpectralFrontEnd implements Closable {
  /** @internal use createSpectral */
  constructor(
    readonly definition: SpectralDefinition,
    private readonly chunkFrames: number,
    private readonly program: Program,
    private readonly buffers: readonly DeviceBuffer[],
  ) {}

  /** Features of a row. */
  get bins(): number {
    return this.definition.bins;
  }

  /** Whether a stream needs the statistics of a first pass. */
  get needsSurvey(): boolean {
    const { normalization } = this.definition;
    return "mode" in normalization && normalization.mode === "exact";
  }

  /** Frames of a signal of so many samples. */
  frames(samples: number): number {
    const { grid } = this.definition;
    return grid.fixedFrames ?? grid.frames(samples);
  }

  /** Starts a signal that arrives in pieces. Throws `UsageError` (EXACT_NEEDS_WHOLE_SIGNAL). */
  stream({ statistics, ...options }: SpectralStreamOptions = {}): FrameStream {
    const { name, bins, normalization } = this.definition;
    if (this.needsSurvey && statistics === undefined) {
      throw new UsageError(`Expected the statistics of the whole signal for a stream of ${name} but received none`, {
        code: "EXACT_NEEDS_WHOLE_SIGNAL",
        hint: 'Normalization "exact" takes two passes: feed survey() first and hand over its statistics; or use "fixed" or "running".',
      });
    }
    return this.open(openNormalizer(normalization, bins, statistics), options);
  }

  /** The first of two passes: takes the signal as a stream does, and has its `statistics` at the end. */
  survey(options: FrameStreamOptions = {}): { stream: FrameStream; readonly statistics: RowStatistics } {
    const survey = new RowSurvey(this.definition.bins);
    const stream = this.open({ apply: (rows) => survey.add(rows) }, options);
    return {
      stream,
      get statistics() {
        return survey.statistics;
      },
    };
  }

  /** All rows [frames, bins] of a whole signal, equal to those of a stream to the bit. */
  async transform(samples: Float32Array, options: FrameStreamOptions = {}): Promise<Float32Array> {
    const survey = this.needsSurvey ? this.survey(options) : undefined;
    if (survey) await feed(survey.stream, samples, () => undefined, this.step);
    const rows = new Float32Array(this.frames(samples.length) * this.bins);
    let filled = 0;
    const keep = (part: Float32Array) => {
      rows.set(part, filled);
      filled += part.length;
    };
    await feed(this.stream({ ...options, statistics: survey?.statistics }), samples, keep, this.step);
    return rows;
  }

  close(): void {
    this.program.close();
    for (const buffer of this.buffers) buffer.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  private get step(): number {
    return this.chunkFrames * this.definition.grid.hop;
  }

  private open(normalizer: { apply(rows: Float32Array): void }, options: FrameStreamOptions): FrameStream {
    const { name, grid, bins } = this.definition;
    return new FrameStream(`the front end ${name}`, grid, bins, this.run, this.chunkFrames, normalizer, options);
  }

  private readonly run: FrameRun = async (signal, abort) => {
    const { rows } = await this.program.run({
      symbols: { T: signal.length },
      inputs: { signal, cuSeqlens: Int32Array.of(0, signal.length) },
      signal: abort,
    });
    return rows as Float32Array;
  };
}

async function feed(stream: FrameStream, samples: Float32Array, keep: (rows: Float32Array) => void, step: number) {
  for (let at = 0; at < samples.length; at += step) keep(await stream.push(samples.subarray(at, at + step)));
  keep(await stream.finish());
}

/**
 * Loads a spectral front end on a device. Close it when done.
 *
 * @throws UsageError (INVALID_OPTION), EnvironmentError (OUT_OF_MEMORY)
 */
export async function createSpectral(
  device: Device,
  definition: SpectralDefinition,
  given: SpectralOptions = {},
): Promise<SpectralFrontEnd> {
  const { chunkFrames } = parseOptions(spectralOptionsSchema, given, "createSpectral()");
  const { spectrum, mel, offset, bins } = definition;
  const parameters = {
    window: spectrum.window,
    mel,
    ...(offset !== undefined && { offset: new Float32Array(bins).fill(offset) }),
  };
  const buffers: Record<string, DeviceBuffer> = {};
  try {
    for (const [name, data] of Object.entries(parameters)) buffers[name] = await device.upload(data);
    const program = await device.load(spectralProgram(definition, chunkFrames), { buffers });
    return new SpectralFrontEnd(definition, chunkFrames, program, Object.values(buffers));
  } catch (error) {
    for (const buffer of Object.values(buffers)) buffer.close();
    throw error;
  }
}
