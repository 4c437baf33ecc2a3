import { open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Device } from "../device.js";
import type { Placement } from "./harness.js";

/**
 * Places data in a file that is mapped, one element behind the start of a page: a multiple of its size and of nothing more, as weights in
 * a checkpoint may lie.
 */
export function placeInFile(device: Device): Placement {
  return async (data) => {
    const path = join(tmpdir(), `krait-placed-${process.pid}`);
    const file = await open(path, "w+");
    try {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      await file.write(bytes, 0, bytes.length, data.BYTES_PER_ELEMENT);
      await using mapped = await device.mapFile(file.fd, path);
      return mapped.buffer(data.BYTES_PER_ELEMENT, data.byteLength);
    } finally {
      await file.close();
      await rm(path);
    }
  };
}
