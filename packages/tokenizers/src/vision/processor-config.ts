import { expected, InputError } from "@krait/core";
import { openRegularFile, parseStrictJson, readAt } from "@krait/formats";
import type { FilterName } from "./filters.js";
import type { ImageProcessorOptions } from "./processor.js";

type Json = Record<string, unknown>;

/** PIL's numbers. */
const resamples: readonly FilterName[] = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"];

const halves = [0.5, 0.5, 0.5] as const;
const imagenet = { image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225] };
const clip = {
  image_mean: [0.48145466, 0.4578275, 0.40821073],
  image_std: [0.26862954, 0.26130258, 0.27577711],
};
const half = { image_mean: halves, image_std: halves };
const square = (side: number) => ({ height: side, width: side });

/** What the classes of transformers take for a field that the file leaves out. */
const classDefaults: Readonly<Record<string, Json>> = {
  CLIP: { ...clip, size: { shortest_edge: 224 }, crop_size: square(224), do_center_crop: true, resample: 3 },
  Siglip: { ...half, size: square(224), resample: 3 },
  ViT: { ...half, size: square(224), resample: 2 },
  DeiT: { ...imagenet, size: square(256), crop_size: square(224), do_center_crop: true, resample: 3 },
  Bit: { ...clip, size: { shortest_edge: 224 }, crop_size: square(224), do_center_crop: true, resample: 3 },
  VideoMAE: { ...half, size: { shortest_edge: 224 }, crop_size: square(224), do_center_crop: true, resample: 2 },
  Vivit: {
    ...half,
    size: { shortest_edge: 256 },
    crop_size: square(224),
    do_center_crop: true,
    resample: 2,
    rescale_factor: 1 / 127.5,
    offset: true,
  },
  Qwen2VL: {
    ...clip,
    resample: 3,
    patch_size: 14,
    merge_size: 2,
    temporal_patch_size: 2,
    min_pixels: 56 * 56,
    max_pixels: 28 * 28 * 1280,
  },
};

/** Fields that change pixels in ways that are not offered: they must be off. */
const refused = [
  "crop_to_patches",
  "do_pan_and_scan",
  "do_resize_and_pad",
  "ensure_multiple_of",
  "image_grid_pinpoints",
  "keep_aspect_ratio",
  "size_divisor",
  "do_pad",
  "do_thumbnail",
  "do_align_long_axis",
  "do_flip_channel_order",
  "do_image_splitting",
  "crop_pct",
  "max_num_patches",
];

/** Classes that take the same fields for something else: sizes as shares, multiples, tiles or crops of their own. */
const refusedFamilies = ["ConvNext", "DPT", "GLPN", "Levit"];

/** How a picture's patches become rows: of so many frames at a time, in blocks of merge × merge. */
export interface PatchRows {
  readonly frames: number;
  /** Pixels of a patch's side. */
  readonly patch: number;
  readonly merge: number;
}

function invalid(name: string, what: string, field: string, received: unknown): InputError {
  return new InputError(expected(what, `${name} ${field}`, received), {
    code: "PROCESSOR_CONFIG_INVALID",
    hint: "The file must be a preprocessor_config.json as transformers saves it.",
  });
}

/**
 * Options from a preprocessor_config.json of transformers. Fields that it leaves out have the defaults of the class it names
 * (`image_processor_type`, or `feature_extractor_type` of old files).
 *
 * Throws `InputError` (PROCESSOR_CONFIG_INVALID, PROCESSOR_CONFIG_UNSUPPORTED: what it asks for is not offered here).
 */
export function imageProcessorOptions(config: unknown, name = "preprocessor_config.json"): ImageProcessorOptions {
  return optionsOf(fieldsOf(config, name), name);
}

interface Fields {
  family: string | undefined;
  known: boolean;
  fields: Json;
}

/** The file's fields over the defaults of its class. */
function fieldsOf(config: unknown, name: string): Fields {
  if (typeof config !== "object" || config === null || Array.isArray(config)) {
    throw invalid(name, "an object", "", config);
  }
  const given = config as Json;
  const type = given.image_processor_type ?? given.feature_extractor_type;
  const family =
    typeof type === "string" ? type.replace(/(Image|Video|Feature)(Processor|Extractor)(Fast|Pil)?$/, "") : undefined;
  const known = family !== undefined && Object.hasOwn(classDefaults, family) ? classDefaults[family]! : undefined;
  if (family !== undefined && refusedFamilies.includes(family)) {
    throw new InputError(
      expected("a processor that only resizes, crops and normalises", `${name} image_processor_type`, type),
      {
        code: "PROCESSOR_CONFIG_UNSUPPORTED",
        hint: "This class takes its sizes otherwise: give a size, or the options of ImageProcessor.",
      },
    );
  }
  const fields: Json = { ...known, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null)) };
  return { family, known: known !== undefined, fields };
}

function optionsOf({ family, known, fields }: Fields, name: string): ImageProcessorOptions {
  for (const field of refused) {
    if (fields[field] === undefined || fields[field] === false) continue;
    throw new InputError(expected("no such field", `${name} ${field}`, fields[field]), {
      code: "PROCESSOR_CONFIG_UNSUPPORTED",
      hint: "Only resize, centre crop, rescale and normalise are offered.",
    });
  }
  const flag = (field: string, absent: boolean) => {
    const value = fields[field] ?? absent;
    if (typeof value !== "boolean") throw invalid(name, "true or false", field, value);
    return value;
  };
  const number = (field: string, absent: number) => {
    const value = fields[field] ?? absent;
    if (typeof value !== "number" || !Number.isFinite(value)) throw invalid(name, "a number", field, value);
    return value;
  };
  const options: ImageProcessorOptions = { rescale: 1 };
  if (flag("do_resize", true)) {
    options.fit = fitOf(fields, name, family === "Qwen2VL");
    const resample = number("resample", 2);
    options.filter = resamples[resample] ?? raise(invalid(name, "a filter from 0 to 5", "resample", resample));
  }
  if (flag("do_center_crop", false)) options.crop = cropOf(fields.crop_size ?? fields.size, name);
  if (flag("do_rescale", true)) {
    options.rescale = number("rescale_factor", 1 / 255);
    if (flag("offset", false)) options.offset = -1;
  }
  if (flag("do_normalize", known || fields.image_mean !== undefined)) {
    options.mean = tripleOf(fields, "image_mean", name);
    options.std = tripleOf(fields, "image_std", name);
  }
  return options;
}

/** The patches that a processor of Qwen2-VL's kind makes; undefined for the others. */
function patchRowsOf({ family, fields }: Fields, name: string): PatchRows | undefined {
  if (family !== "Qwen2VL") return undefined;
  const side = (field: string) => sideOf(fields[field], field, name);
  return { frames: side("temporal_patch_size"), patch: side("patch_size"), merge: side("merge_size") };
}

/** Reads a preprocessor_config.json. Throws what `imageProcessorOptions` throws, and the FILE_ and JSON_ codes. */
export async function readImageProcessorOptions(path: string): Promise<ImageProcessorOptions> {
  return (await readImageProcessorConfig(path)).options;
}

/** As `readImageProcessorOptions`, with how the pictures become patches where the file says so. */
export async function readImageProcessorConfig(
  path: string,
): Promise<{ options: ImageProcessorOptions; patches: PatchRows | undefined }> {
  const { handle, size } = await openRegularFile(path);
  try {
    const bytes = new Uint8Array(Math.min(size, maxConfigBytes + 1));
    const read = bytes.subarray(0, await readAt(handle, bytes, 0));
    const fields = fieldsOf(parseStrictJson(read, path, { maxBytes: maxConfigBytes }), path);
    return { options: optionsOf(fields, path), patches: patchRowsOf(fields, path) };
  } finally {
    await handle.close();
  }
}

const maxConfigBytes = 2 ** 20;

function raise(error: Error): never {
  throw error;
}

function sideOf(value: unknown, field: string, name: string): number {
  if (Number.isSafeInteger(value) && (value as number) > 0 && (value as number) <= 16384) return value as number;
  throw invalid(name, "a size in pixels", field, value);
}

function fitOf(fields: Json, name: string, budget: boolean): NonNullable<ImageProcessorOptions["fit"]> {
  const size = (fields.size ?? {}) as Json;
  if (budget) {
    const pixels = (field: string, old: string) => sideless(size[field] ?? fields[old], old, name);
    const factor = sideOf(fields.patch_size, "patch_size", name) * sideOf(fields.merge_size, "merge_size", name);
    return {
      kind: "budget",
      factor,
      minPixels: pixels("shortest_edge", "min_pixels"),
      maxPixels: pixels("longest_edge", "max_pixels"),
    };
  }
  // Old files give one number: a square for classes that stretch, the shorter side for those that crop.
  if (typeof fields.size === "number") {
    const side = sideOf(fields.size, "size", name);
    return fields.do_center_crop === true ? { kind: "shortest", side } : { kind: "exact", width: side, height: side };
  }
  if (size.shortest_edge !== undefined) {
    const longest = size.longest_edge === undefined ? {} : { longest: sideOf(size.longest_edge, "size", name) };
    return { kind: "shortest", side: sideOf(size.shortest_edge, "size", name), ...longest };
  }
  const [width, height] = [sideOf(size.width, "size", name), sideOf(size.height, "size", name)];
  return { kind: "exact", width, height };
}

function sideless(value: unknown, field: string, name: string): number {
  if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
  throw invalid(name, "a number of pixels", field, value);
}

function cropOf(value: unknown, name: string): { width: number; height: number } {
  if (typeof value === "number") return square(sideOf(value, "crop_size", name));
  const { width, height } = (value ?? {}) as Json;
  return { width: sideOf(width, "crop_size", name), height: sideOf(height, "crop_size", name) };
}

function tripleOf(fields: Json, field: string, name: string): [number, number, number] {
  const value = fields[field];
  const fits = Array.isArray(value) && value.length === 3 && value.every((v) => Number.isFinite(v));
  if (!fits || (field === "image_std" && value.includes(0))) throw invalid(name, "three numbers", field, value);
  return value as [number, number, number];
}
