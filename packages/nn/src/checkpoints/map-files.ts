import { KraitError } from "@krait/core";
import type { SafetensorsFile } from "@krait/formats";
import type { Device, MappedFile } from "@krait/runtime";

/** Each file mapped once; without those that the system does not map. */
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
    }
    return mapped;
  } catch (error) {
    for (const file of mapped.values()) file.close();
    throw error;
  }
}
