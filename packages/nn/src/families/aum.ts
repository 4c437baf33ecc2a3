import { z } from "zod";
import { parseConfig } from "../checkpoints/index.js";
import { bimambaFields, bimambaParts, bimambaTypeOf, bimambaTypes, expectPublished } from "./bimamba.js";
import type { EncoderFamily } from "./encoder-family.js";
import { flag, modelType, size, unsupported } from "./fields.js";

const pair = z.union([size, z.tuple([size, size])]).transform((v) => (typeof v === "number" ? ([v, v] as const) : v));

const schema = z.object({
  ...bimambaFields,
  /** Mel bins, frames. */
  spectrogram_size: z.tuple([size, size]).default([128, 1024]),
  patch_size: pair.prefault(16),
  strides: pair.prefault(16),
  channels: z.literal(1).default(1),
  bimamba_type: z.enum(bimambaTypes).optional(),
  use_middle_cls_token: flag(true),
  use_end_cls_token: flag(false),
  transpose_token_sequence: flag(false),
  /** Spelt as in the published code. */
  if_devide_out: flag(true),
  must_square: flag(false),
});

/**
 * Audio Mamba, arXiv 2406.03344: patches of a spectrogram, frequency after frequency (or time after time), the class token in the middle.
 * Its base models are of type v1, its small ones of v2. Tensors named as in kaistmm/Audio-Mamba-AuM.
 */
export const aumFamily: EncoderFamily = {
  name: "aum",
  matches: (config) => modelType(config) === "aum",
  describe(file, names) {
    const config = parseConfig(schema, file);
    expectPublished(config, file.path);
    if (config.must_square) throw unsupported(file.path, "must_square", "false", true);
    const [bins, frames] = config.spectrogram_size;
    const [height, length] = config.patch_size;
    const [down, along] = config.strides;
    const end = config.use_end_cls_token ? "last" : "first";
    return {
      family: "aum",
      layout: "spectrogram",
      ...bimambaParts(file, {
        config,
        names,
        type: config.bimamba_type ?? bimambaTypeOf(names),
        divides: config.if_devide_out,
        channels: 1,
        input: { frames: 1, rows: bins, columns: frames },
        patch: { frames: 1, rows: height, columns: length },
        stride: { frames: 1, rows: down, columns: along },
        kernel: [1, height, length],
        positions: "pos_embed.pos_embed",
      }),
      order: config.transpose_token_sequence ? "rows" : "columns",
      classPosition: config.use_middle_cls_token ? "middle" : end,
      positionsBy: "patch",
      temporal: undefined,
    };
  },
};
