import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { expected, InputError, KraitError, parseOptions } from "@krait/core";
import { parseStrictJson } from "@krait/formats";
import type { z } from "zod";

const MAX_CONFIG_BYTES = 4 * 2 ** 20;

/** What a published config.json holds, before a family reads it. */
export interface PublishedConfig {
  path: string;
  values: Readonly<Record<string, unknown>>;
}

/**
 * Reads the config.json of a published model. Numbers that JSON cannot write (`{"__float__": "Infinity"}`, or Python's bare `Infinity`)
 * become numbers.
 *
 * @throws InputError (MODEL_NOT_FOUND, INVALID_CONFIG, JSON_*)
 */
export async function readPublishedConfig(folder: string): Promise<PublishedConfig> {
  const path = join(folder, "config.json");
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) {
    throw new InputError(expected("a folder with config.json and safetensors files", "the model", folder), {
      code: "MODEL_NOT_FOUND",
      hint: "Give the folder of a model: config.json and its safetensors, saved or published.",
    });
  }
  if (found.size > MAX_CONFIG_BYTES) {
    throw invalidConfig(
      expected(`at most ${MAX_CONFIG_BYTES} bytes`, path, found.size),
      "A config is a few kilobytes.",
    );
  }
  const values = floats(parseStrictJson(await readFile(path), path, { pythonNumbers: true }));
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw invalidConfig(expected("an object", path, values), "A config is one JSON object.");
  }
  return { path, values: values as Record<string, unknown> };
}

function floats(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(floats);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  if (entries.length === 1 && entries[0]![0] === "__float__") {
    const text = entries[0]![1];
    if (text === "Infinity" || text === "-Infinity" || text === "NaN") return Number(text);
  }
  return Object.fromEntries(entries.map(([k, v]) => [k, floats(v)]));
}

/** Reads the fields of a config that a family needs; what is wrong is the file's fault and named with its field. */
export function parseConfig<S extends z.ZodType>(schema: S, config: PublishedConfig): z.output<S> {
  return asInput(() => parseOptions(schema, config.values, config.path));
}

/** Faults of options that came out of a file are the file's, not the caller's. */
export function asInput<R>(body: () => R): R {
  try {
    return body();
  } catch (error) {
    if (!KraitError.is(error) || error.kind !== "usage") throw error;
    throw new InputError(error.message, {
      code: "INVALID_CONFIG",
      hint: error.hint ?? "Compare config.json with the published one.",
      cause: error,
    });
  }
}

export function invalidConfig(message: string, hint: string): InputError {
  return new InputError(message, { code: "INVALID_CONFIG", hint });
}
