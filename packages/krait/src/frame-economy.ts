import { z } from "zod";

/** What `economizeFrames` takes, as an option of sources; its defaults are filled in there. */
export const economyField = z
  .strictObject({
    /** Mean difference in steps of a byte up to which a frame counts as the one kept before. */
    sameBelow: z.number().min(0).max(255).optional(),
    /** Seconds after which a frame is kept in any case. */
    maxSeconds: z.number().positive().max(86400).optional(),
    /** Frames kept per second at most. */
    budget: z.number().positive().max(1000).optional(),
    /** `drop` keeps the first of a run of frames, `merge` their mean. */
    mode: z.enum(["drop", "merge"]).optional(),
  })
  .optional();
