import { KraitError, type Limits } from "@krait/core";
import type { Source } from "./open-source.js";
import { openWav } from "./wav/wav-file.js";

/** Whether a wav file holds a compressed kind that only ffmpeg reads. Other faults are left for the reader to name. */
export async function isForeignWav(source: Source, limits: Limits): Promise<boolean> {
  try {
    await (await openWav(source, limits)).close();
    return false;
  } catch (error) {
    return KraitError.is(error) && error.code === "MEDIA_UNSUPPORTED";
  }
}
