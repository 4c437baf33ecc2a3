import { z } from "zod";

/** How a published model is loaded, whichever it is. */
export const publishedOptions = {
  device: z.enum(["auto", "cpu", "cuda"]).default("auto"),
  threads: z.int().positive().max(1024).optional(),
  dtype: z.enum(["f32", "bf16"]).default("f32"),
  /** Where weights lie on the CPU: `mapped` runs them in their files, which nobody may write to then; `copied` in memory of its own. */
  weights: z.enum(["mapped", "copied"]).default("mapped"),
};
