import { z } from "zod";

/** Bounds on what one input may ask of us. Every one is an option; the defaults are safe for untrusted files. */
export const limitsSchema = z
  .strictObject({
    /** Pixels of one decoded frame. */
    maxPixels: z
      .number()
      .int()
      .positive()
      .default(8192 * 8192),
    /** Seconds of media. */
    maxDurationSeconds: z
      .number()
      .positive()
      .default(48 * 3600),
    maxStreams: z.number().int().positive().default(64),
    maxAudioChannels: z.number().int().positive().default(64),
    /** Bytes of a text source. */
    maxTextBytes: z
      .number()
      .int()
      .positive()
      .default(256 * 2 ** 20),
    /** Bytes of a safetensors header. */
    maxHeaderBytes: z.number().int().positive().default(100_000_000),
    maxTensors: z.number().int().positive().default(1_000_000),
    /** Bytes that encode() may return at once. */
    maxResultBytes: z
      .number()
      .int()
      .positive()
      .default(2 ** 30),
    /** Seconds to wait for the next byte of a decoder before it counts as stalled. */
    stallSeconds: z.number().positive().default(30),
  })
  .prefault({});

export type Limits = z.output<typeof limitsSchema>;
export type LimitsInput = z.input<typeof limitsSchema>;

export const defaultLimits: Limits = limitsSchema.parse({});
