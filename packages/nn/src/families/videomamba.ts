import { z } from "zod";
import { invalidConfig, parseConfig } from "../checkpoints/index.js";
import { bimambaFields, bimambaParts, expectPublished, rows } from "./bimamba.js";
import type { EncoderFamily } from "./encoder-family.js";
import { flag, modelType, size, unsupported } from "./fields.js";

const TEMPORAL = "temporal_pos_embedding";

const schema = z.object({
  ...bimambaFields,
  img_size: size.default(224),
  patch_size: size.default(16),
  channels: size.default(3),
  /** Frames per tubelet. */
  kernel_size: size.default(1),
  num_frames: size.default(8),
  bimamba: flag(true),
});

/**
 * VideoMamba, arXiv 2403.06977: the class token first, then tubelet after tubelet, with positions in space and in time; both ways are
 * summed. Its picture models have no positions in time. Tensors named as in OpenGVLab/VideoMamba.
 */
export const videoMambaFamily: EncoderFamily = {
  name: "videomamba",
  matches: (config) => modelType(config) === "videomamba",
  describe(file, names) {
    const config = parseConfig(schema, file);
    expectPublished(config, file.path);
    if (!config.bimamba) throw unsupported(file.path, "bimamba", "true", false);
    const { img_size: side, patch_size: patch, channels, kernel_size: tubelet } = config;
    const isVideo = names.has(TEMPORAL);
    const frames = isVideo ? config.num_frames : 1;
    if (isVideo && frames % tubelet !== 0) {
      throw invalidConfig(
        `Expected whole tubelets of ${tubelet} frames for ${file.path} num_frames but received ${frames}`,
        "num_frames is a multiple of kernel_size.",
      );
    }
    const extent = { frames: isVideo ? tubelet : 1, rows: patch, columns: patch };
    return {
      family: "videomamba",
      layout: "frames",
      ...bimambaParts(file, {
        config,
        names,
        type: "v2",
        divides: false,
        channels,
        input: { frames, rows: side, columns: side },
        patch: extent,
        stride: extent,
        kernel: isVideo ? [channels, tubelet, patch, patch] : [channels, patch, patch],
        positions: "pos_embed",
      }),
      order: "columns",
      classPosition: "first",
      positionsBy: "patch",
      temporal: isVideo ? rows(TEMPORAL, frames / tubelet, config.embed_dim) : undefined,
    };
  },
};
