import { createHash } from "node:crypto";
import { openRegularFile, readAt } from "./files.js";

/**
 * SHA-256 of a file's bytes as 64 hex digits, read in pieces of 1 MiB.
 * Throws what `openRegularFile` throws, and `AbortedError`.
 */
export async function sha256File(path: string, { signal }: { signal?: AbortSignal } = {}): Promise<string> {
  const { handle } = await openRegularFile(path);
  try {
    const hash = createHash("sha256");
    const piece = new Uint8Array(2 ** 20);
    for (let position = 0; ; ) {
      const n = await readAt(handle, piece, position, signal);
      if (n > 0) hash.update(piece.subarray(0, n));
      if (n < piece.length) return hash.digest("hex");
      position += n;
    }
  } finally {
    await handle.close();
  }
}
