import { z } from "zod";
import { parseConfig } from "../checkpoints/index.js";
import { bimambaFields, bimambaParts, bimambaTypeOf, bimambaTypes, expectPublished } from "./bimamba.js";
import type { EncoderFamily } from "./encoder-family.js";
import { flag, modelType, size } from "./fields.js";

const schema = z.object({
  ...bimambaFields,
  img_size: size.default(224),
  patch_size: size.default(16),
  stride: size.default(16),
  channels: size.default(3),
  bimamba_type: z.enum(bimambaTypes).optional(),
  use_middle_cls_token: flag(true),
  if_divide_out: flag(true),
});

/** Vision Mamba, arXiv 2401.09417: one picture, the class token in the middle of its patches. Tensors named as in hustvl/Vim. */
export const vimFamily: EncoderFamily = {
  name: "vim",
  matches: (config) => modelType(config) === "vim",
  describe(file, names) {
    const config = parseConfig(schema, file);
    expectPublished(config, file.path);
    const { img_size: side, patch_size: patch, stride, channels } = config;
    return {
      family: "vim",
      layout: "frames",
      ...bimambaParts(file, {
        config,
        names,
        type: config.bimamba_type ?? bimambaTypeOf(names),
        divides: config.if_divide_out,
        channels,
        input: { frames: 1, rows: side, columns: side },
        patch: { frames: 1, rows: patch, columns: patch },
        stride: { frames: 1, rows: stride, columns: stride },
        kernel: [channels, patch, patch],
        positions: "pos_embed",
      }),
      order: "columns",
      classPosition: config.use_middle_cls_token ? "middle" : "first",
      positionsBy: "token",
      temporal: undefined,
    };
  },
};
