import { pixelPresets } from "../video/pixel-scale.js";
import type { ImageProcessorOptions } from "./processor.js";

const square = (side: number) => ({ width: side, height: side });
const { clip, half, imagenet } = pixelPresets;
const mutable = ({ mean, std }: { mean: readonly number[]; std: readonly number[] }) => ({
  mean: [...mean] as [number, number, number],
  std: [...std] as [number, number, number],
});

/** Sides at which the published checkpoints were trained most often. */
export const defaultImageSize = 224;

const makers = {
  /** CLIPImageProcessor: short side by bicubic, centre crop, OpenAI's statistics. */
  clip: (side: number) => ({
    fit: { kind: "shortest", side },
    filter: "bicubic",
    crop: square(side),
    ...mutable(clip),
  }),
  /** SiglipImageProcessor: stretched by bicubic, −1 to 1. */
  siglip: (side: number) => ({ fit: { kind: "exact", ...square(side) }, filter: "bicubic", ...mutable(half) }),
  /** ViTImageProcessor: stretched by bilinear, −1 to 1. */
  vit: (side: number) => ({ fit: { kind: "exact", ...square(side) }, filter: "bilinear", ...mutable(half) }),
  /** VideoMAEImageProcessor's defaults; checkpoints override mean and std with ImageNet's in their preprocessor_config.json. */
  videomae: (side: number) => ({
    fit: { kind: "shortest", side },
    filter: "bilinear",
    crop: square(side),
    ...mutable(half),
  }),
  /** VivitImageProcessor: short side 256 for a crop of 224, x / 127.5 − 1, then the statistics on top: −3 to 1. */
  vivit: (side: number, given: boolean) => ({
    fit: { kind: "shortest", side: given ? side : 256 },
    filter: "bilinear",
    crop: square(side),
    rescale: 1 / 127.5,
    offset: -1,
    ...mutable(half),
  }),
  /** VideoMamba's evaluation transform (OpenGVLab/VideoMamba, video_sm): short side by bilinear, centre crop, ImageNet's statistics. */
  videomamba: (side: number) => ({
    fit: { kind: "shortest", side },
    filter: "bilinear",
    crop: square(side),
    ...mutable(imagenet),
  }),
} as const satisfies Record<string, (side: number, given: boolean) => ImageProcessorOptions>;

export type ImagePreset = keyof typeof makers;
export const imagePresets = Object.keys(makers) as ImagePreset[];

/** Options of a published processor. @param size pixels; sets both the resize and the crop. Default: the published ones. */
export function imagePreset(name: ImagePreset, size?: number): ImageProcessorOptions {
  return makers[name](size ?? defaultImageSize, size !== undefined);
}
