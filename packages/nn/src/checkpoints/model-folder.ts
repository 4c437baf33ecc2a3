import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { type Closable, expected, InputError, type LimitsInput } from "@krait/core";
import { openSafetensors, parseStrictJson, type SafetensorsFile, type TensorEntry } from "@krait/formats";

const INDEX = "model.safetensors.index.json";
const MAX_SHARDS = 4096;
const pickles = /\.(bin|pt|pth|ckpt|pkl|pickle)$/i;

/** One stored tensor and the file it lies in. */
export interface StoredTensor {
  readonly file: SafetensorsFile;
  readonly entry: TensorEntry;
}

/** The open weight files of a published model: one file, or the shards of an index. */
export interface ModelFolder extends Closable {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Bytes of all tensors as stored. */
  readonly bytes: number;
  close(): Promise<void>;
}

/**
 * Opens `model.safetensors`, or every shard that `model.safetensors.index.json` names, and checks their headers. Shards must lie in
 * the folder itself; links may lead out of it only into the blobs of a Hugging Face cache.
 *
 * @throws InputError (MODEL_NOT_FOUND, PICKLE_REFUSED, INVALID_INDEX, LINK_REFUSED, TENSOR_MISSING, TENSOR_UNEXPECTED, and the
 * reader's SAFETENSORS_* codes)
 */
export async function openModelFolder(folder: string, limits: LimitsInput = {}): Promise<ModelFolder> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new InputError(expected("a folder", "the model", folder), {
      code: "MODEL_NOT_FOUND",
      hint: "Give the folder that holds the published files of a model.",
      cause,
    });
  });
  const single = names.includes("model.safetensors");
  const index = names.includes(INDEX);
  if (!single && !index) throw noWeights(folder, names);
  // A single file beside an index is the whole model; the index then describes another copy of it.
  const map = single ? undefined : await readIndex(folder, join(folder, INDEX));
  const shards = single ? ["model.safetensors"] : [...new Set(map!.values())].sort();
  const files: SafetensorsFile[] = [];
  const close = async () => {
    await Promise.all(files.map((file) => file.close()));
  };
  try {
    const tensors = new Map<string, StoredTensor>();
    let bytes = 0;
    for (const shard of shards) await refuseOutside(folder, join(folder, shard));
    for (const shard of shards) {
      const path = join(folder, shard);
      const file = await openSafetensors(path, { limits });
      files.push(file);
      for (const [name, entry] of file.tensors) {
        if (tensors.has(name) || (map && map.get(name) !== shard)) {
          throw new InputError(expected(`tensor ${name} in ${map?.get(name) ?? "one file"} alone`, path, shard), {
            code: "TENSOR_UNEXPECTED",
            hint: `The shards and ${INDEX} do not belong together: fetch all files of one revision.`,
          });
        }
        tensors.set(name, { file, entry });
        bytes += entry.byteLength;
      }
    }
    for (const [name, shard] of map ?? []) {
      if (tensors.has(name)) continue;
      throw new InputError(expected(`tensor ${name}`, join(folder, shard), "a file without it"), {
        code: "TENSOR_MISSING",
        hint: `The shards and ${INDEX} do not belong together: fetch all files of one revision.`,
      });
    }
    return { path: folder, tensors, bytes, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** tensor → shard, every shard a plain file name. */
async function readIndex(folder: string, path: string): Promise<Map<string, string>> {
  await refuseOutside(folder, path);
  const fail = (what: string, received: unknown): never => {
    throw new InputError(expected(what, path, received), {
      code: "INVALID_INDEX",
      hint: "Fetch the index again from where the model was published.",
    });
  };
  const json = parseStrictJson(await readFile(path), path) as { weight_map?: unknown } | null;
  const map = json?.weight_map;
  if (typeof map !== "object" || map === null || Array.isArray(map)) return fail("an object weight_map", map);
  const entries = Object.entries(map as Record<string, unknown>);
  if (entries.length === 0) fail("at least one tensor in weight_map", entries);
  for (const [, shard] of entries) {
    if (typeof shard !== "string") return fail("file names in weight_map", shard);
    if (pickles.test(shard)) throw pickle(folder, shard);
    if (basename(shard) !== shard || !/^[\w][\w.-]*\.safetensors$/.test(shard))
      fail("names of .safetensors files of the same folder in weight_map", shard);
  }
  if (new Set(entries.map(([, shard]) => shard)).size > MAX_SHARDS)
    fail(`at most ${MAX_SHARDS} shards`, entries.length);
  return new Map(entries as [string, string][]);
}

/**
 * A file of a model must lie in its folder; a link may lead out of it only into the blobs of a Hugging Face cache.
 *
 * @throws InputError (LINK_REFUSED; FILE_NOT_FOUND for a file that is not there)
 */
export async function refuseOutside(folder: string, path: string): Promise<void> {
  if (!(await stat(path).catch(() => undefined))) {
    throw new InputError(expected("an existing file", `the shard ${path}`, undefined), {
      code: "FILE_NOT_FOUND",
      hint: `${INDEX} names it: fetch the shards that are missing.`,
    });
  }
  const [home, target] = [await realpath(folder), await realpath(path)];
  if (target.startsWith(home + sep)) return;
  // models--org--name/snapshots/<revision>/file → ../../blobs/<hash>
  const snapshots = dirname(home);
  if (basename(snapshots) === "snapshots" && dirname(target) === join(dirname(snapshots), "blobs")) return;
  throw new InputError(expected("a file within the model's folder", path, `a link to ${target}`), {
    code: "LINK_REFUSED",
    hint: "Copy the file into the folder, if you trust where it comes from.",
  });
}

function noWeights(folder: string, names: readonly string[]): InputError {
  const found = names.find((name) => pickles.test(name) || /\.bin\.index\.json$/.test(name));
  if (found) return pickle(folder, found);
  return new InputError(expected(`model.safetensors or ${INDEX}`, `the weights in ${folder}`, undefined), {
    code: "MODEL_NOT_FOUND",
    hint: "The folder holds no weights that can be read.",
  });
}

function pickle(folder: string, name: string): InputError {
  return new InputError(expected("safetensors", `the weights in ${folder}`, name), {
    code: "PICKLE_REFUSED",
    hint: 'Pickles can run code when they are read. Take the safetensors edition (for state-spaces models the one that ends in "-hf"), or convert it where you trust it: safetensors.torch.save_file(torch.load(file, weights_only=True), "model.safetensors").',
  });
}
