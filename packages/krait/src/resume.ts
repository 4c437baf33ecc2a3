import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { expected, InputError, KraitError, UsageError } from "@krait/core";
import { openPartial, openSafetensors, type PartialFile, type TensorToWrite, writeSafetensors } from "@krait/formats";
import { z } from "zod";
import type { Encoder, RunState } from "./encoder.js";
import type { Pool, PoolerState } from "./pool.js";
import { fileOfSource, type Source } from "./sources.js";
import { version } from "./version.js";

/** What a run depends on: an interrupted one goes on only where all of it is the same. */
export type RunIdentity = Record<
  "version" | "model" | "sequence" | "device" | "chunkTokens" | "pool" | "sources",
  unknown
>;

/** An earlier run's rows and where it can go on. */
export interface Resumable {
  partial: PartialFile;
  /** Rows of the parts that count. */
  rows: number;
  state: RunState;
}

/**
 * Describes a run for `loadRunState`; undefined where a source is a stream, which nobody can read again. Throws what `stat`
 * of a source throws as `InputError` (SOURCE_NOT_FOUND, FILE_NOT_FOUND).
 */
export async function runIdentity(
  encoder: Encoder,
  sources: readonly Source[],
  pool: Pool | undefined,
): Promise<RunIdentity | undefined> {
  const isText = (source: Source) => source.kind === "text" && "text" in source.input;
  if (sources.some((source) => !isText(source) && fileOfSource(source) === undefined)) return undefined;
  const described: unknown[] = [];
  for (const source of sources) described.push(await describe(source));
  return {
    version,
    model: encoder.model.sha256,
    // The digest is that of the weights, which do not say in which order tokens come.
    sequence: encoder.config.sequence,
    device: encoder.device.kind,
    chunkTokens: encoder.chunkTokens,
    pool: pool ?? "token",
    sources: described,
  };
}

async function describe(source: Source): Promise<unknown> {
  if (source.kind === "text" && "text" in source.input)
    return { text: createHash("sha256").update(source.input.text).digest("hex") };
  const path = fileOfSource(source)!;
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    throw new InputError(expected("an existing file", path, cause.code), {
      // As reading it would say, a little later.
      code: source.kind === "text" ? "FILE_NOT_FOUND" : "SOURCE_NOT_FOUND",
      hint: "Check the spelling and the folder the command runs in.",
      cause,
    });
  });
  const options = source.kind === "text" ? (source.timed ?? {}) : source.options;
  return { kind: source.kind, path: resolve(path), bytes: found.size, modified: found.mtimeMs, options };
}

const stateFile = (out: string) => `${out}.partial.state`;

const rowSchema = z.strictObject({
  count: z.number().int().positive(),
  modality: z.number().int().min(0).max(255),
  start: z.number(),
  end: z.number(),
  window: z.number(),
});
const notesSchema = z.strictObject({
  identity: z.record(z.string(), z.unknown()),
  rows: z.number().int().nonnegative(),
  tokens: z.number().int().nonnegative(),
  position: z.number().int().nonnegative(),
  length: z.number().int().nonnegative().optional(),
  layout: z.string(),
  pooler: z.strictObject({ rows: z.array(rowSchema), mark: z.number().nullable() }).optional(),
});

/** Writes where a run is, whole or not at all, beside its rows. Throws what `writeSafetensors` throws. */
export async function saveRunState(out: string, identity: RunIdentity, rows: number, state: RunState): Promise<void> {
  const { snapshot, tokens, length, pooler } = state;
  const tensors: Record<string, TensorToWrite> = {};
  for (const [name, data] of Object.entries(snapshot.states))
    tensors[`state.${name}`] = { dtype: "u8", shape: [data.length], data };
  const dim = pooler?.rows[0]?.sum.length ?? 0;
  if (pooler) {
    const data = new Float64Array(pooler.rows.length * dim);
    for (const [i, { sum }] of pooler.rows.entries()) data.set(sum, i * dim);
    tensors["pooler.sums"] = { dtype: "f64", shape: [pooler.rows.length, dim], data };
  }
  const notes: z.input<typeof notesSchema> = {
    identity,
    rows,
    tokens,
    position: snapshot.position,
    ...(length !== undefined && { length }),
    layout: snapshot.layout,
    // JSON has no infinity: a pooler that has seen nothing has no mark.
    ...(pooler && {
      pooler: {
        rows: pooler.rows.map(({ sum: _, ...row }) => row),
        mark: Number.isFinite(pooler.mark) ? pooler.mark : null,
      },
    }),
  };
  // A name that a later run finds and clears, should this one be killed here.
  const temporary = `${stateFile(out)}.next`;
  await writeSafetensors(stateFile(out), tensors, { "krait.run": JSON.stringify(notes) }, { temporary });
}

/**
 * Finds what an interrupted run with this identity left; undefined where there is nothing to go on with. The caller closes `partial`.
 *
 * @throws UsageError (RESUME_MISMATCH) for a run with other sources, options or model, InputError (RESUME_INVALID, PARTIAL_INVALID) for
 * a damaged one
 */
export async function loadRunState(out: string, identity: RunIdentity): Promise<Resumable | undefined> {
  const hasState = await stat(stateFile(out)).then(
    () => true,
    () => false,
  );
  if (!hasState) return undefined;
  const { notes, tensors } = await readState(out);
  for (const key of Object.keys(identity) as (keyof RunIdentity)[]) {
    const [mine, theirs] = [identity[key], notes.identity[key]].map((value) => JSON.stringify(value ?? null));
    if (mine === theirs) continue;
    throw new UsageError(expected(`the ${key} of the interrupted run`, `resuming ${out}`, `another: ${mine}`), {
      code: "RESUME_MISMATCH",
      hint: `It ran with ${theirs}. Give the same files and options, or start anew without resuming.`,
    });
  }
  const partial = await openPartial(out);
  if (partial.rows < notes.rows) {
    await partial.close();
    throw damaged(out, `${partial.rows} rows where the state counts ${notes.rows}`);
  }
  const states: Record<string, Uint8Array> = {};
  for (const [name, data] of Object.entries(tensors))
    if (name.startsWith("state.")) states[name.slice("state.".length)] = data as Uint8Array;
  const snapshot = { position: notes.position, layout: notes.layout, states };
  const pooler = notes.pooler && poolerState(out, notes.pooler, tensors["pooler.sums"]);
  return { partial, rows: notes.rows, state: { tokens: notes.tokens, length: notes.length, snapshot, pooler } };
}

function poolerState(
  out: string,
  { rows, mark }: NonNullable<z.output<typeof notesSchema>["pooler"]>,
  sums: unknown,
): PoolerState {
  if (!(sums instanceof Float64Array) || (rows.length > 0 && sums.length % rows.length !== 0))
    throw damaged(out, "sums that do not fit their rows");
  const dim = rows.length === 0 ? 0 : sums.length / rows.length;
  return {
    rows: rows.map((row, i) => ({ ...row, sum: sums.slice(i * dim, (i + 1) * dim) })),
    mark: mark ?? Number.NEGATIVE_INFINITY,
  };
}

async function readState(out: string) {
  try {
    const file = await openSafetensors(stateFile(out));
    try {
      const notes = notesSchema.parse(JSON.parse(file.metadata["krait.run"] ?? "null"));
      const tensors: Record<string, unknown> = {};
      for (const name of file.tensors.keys()) tensors[name] = await file.read(name);
      return { notes, tensors };
    } finally {
      await file.close();
    }
  } catch (error) {
    throw damaged(out, KraitError.is(error) ? error.message : "another file", error);
  }
}

function damaged(out: string, received: string, cause?: unknown): InputError {
  return new InputError(expected("the whole state of an interrupted run", stateFile(out), received), {
    code: "RESUME_INVALID",
    hint: "What was left is damaged: start anew without resuming.",
    ...(cause !== undefined && { cause }),
  });
}
