import { KraitError } from "@krait/core";
import type { SafetensorsFile } from "@krait/formats";
import type { Device, MappedFile } from "@krait/runtime";

/** Each file mapped once; without those that the system does not map. Throws `InputError` (FILE_CHANGED). */
export async function mapFiles(
  device: Device,
  files: readonly SafetensorsFile[],
): Promise<ReadonlyMap<SafetensorsFile, MappedFile>> {
  const mapped = new Map<SafetensorsFile, MappedFile>();
  try {
    for (const file of new Set(files)) {
      const one = await device.mapFile(file.fd, file.path).catch((error: unknown) => {
        if (KraitError.is(error) && error.code === "UNSUPPORTED") return undefined;
        throw error;
      });
      if (one) mapped.set(file, one);
      await file.expectUnchanged(); // what was mapped is what its header told of
    }
    return mapped;
  } catch (error) {
    for (const file of mapped.values()) file.close();
    throw error;
  }
}
