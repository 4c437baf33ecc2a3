import { expected, UsageError } from "@krait/core";

/** Per channel R, G, B, in the scale of 0 to 1. */
export interface PixelStatistics {
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** Statistics that published image models were trained with; `half` maps 0…255 to −1…1 (SigLIP, ViT). */
export const pixelPresets = {
  imagenet: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  half: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
  clip: { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] },
} as const satisfies Record<string, PixelStatistics>;

export type PixelPreset = keyof typeof pixelPresets;

/**
 * `scale` and `shift` [3] that make x · scale + shift of a byte what (x / 255 − mean) / std is: the operands of `unfoldPatches`.
 * Throws `UsageError` (INVALID_OPTION).
 */
export function pixelScale(statistics: PixelPreset | PixelStatistics): { scale: Float32Array; shift: Float32Array } {
  const { mean, std } = (typeof statistics === "string" ? presetOf(statistics) : statistics) ?? {};
  for (const [name, values] of Object.entries({ mean, std })) {
    const isTriple = Array.isArray(values) && values.length === 3 && values.every(Number.isFinite);
    if (isTriple && !(name === "std" && values.includes(0))) continue;
    const what = name === "std" ? "three finite numbers other than 0" : "three finite numbers";
    throw new UsageError(expected(what, `pixelScale() ${name}`, values), {
      code: "INVALID_OPTION",
      hint: `One for each of red, green and blue, or a preset: ${Object.keys(pixelPresets).join(", ")}.`,
    });
  }
  return {
    scale: Float32Array.from(std!, (s) => 1 / (255 * s)),
    shift: Float32Array.from(std!, (s, channel) => -mean![channel]! / s),
  };
}

function presetOf(name: string): PixelStatistics {
  if (Object.hasOwn(pixelPresets, name)) return pixelPresets[name as PixelPreset];
  throw new UsageError(expected(`one of ${Object.keys(pixelPresets).join(", ")}`, "pixelScale()", name), {
    code: "INVALID_OPTION",
    hint: "Or give { mean, std } as the model's preprocessor_config.json has them.",
  });
}
