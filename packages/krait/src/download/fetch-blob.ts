import { createHash } from "node:crypto";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import { EnvironmentError, expected, InputError, KraitError, throwIfAborted } from "@krait/core";
import { readAt, writeAt } from "@krait/formats";

/** Attempts in a row that bring nothing before a download is given up. */
const ATTEMPTS = 5;
const FIRST_PAUSE = 500; // milliseconds, doubled each time

export interface BlobRequest {
  url: string;
  /** Where the whole file goes; `path`.incomplete until then. */
  path: string;
  bytes: number;
  /** SHA-256 in 64 hex digits, or git's own hash in 40. */
  hash: string;
  headers: Record<string, string>;
  fetch: typeof fetch;
  signal: AbortSignal | undefined;
  /** Bytes that are there, as they come. */
  onBytes(bytes: number): void;
}

/**
 * Fetches one file, from where an earlier attempt ended, and keeps it only when it has its size and hash.
 *
 * @throws EnvironmentError (DOWNLOAD_FAILED, DISK_FULL), InputError (DOWNLOAD_CORRUPT), AbortedError
 */
export async function fetchBlob(request: BlobRequest): Promise<void> {
  const { path, bytes, hash, signal } = request;
  const partial = `${path}.incomplete`;
  for (let failures = 0; ; ) {
    const before = await sizeOf(partial);
    if (before > bytes) await rm(partial);
    try {
      if (before < bytes || bytes === 0) await append(request, partial, Math.min(before, bytes));
      break;
    } catch (error) {
      throwIfAborted(signal, "the download");
      if (KraitError.is(error)) throw error;
      failures = (await sizeOf(partial)) > before ? 0 : failures + 1;
      if (failures >= ATTEMPTS) throw failed(request.url, error);
      await wait(FIRST_PAUSE * 2 ** failures, undefined, signal && { signal }).catch(() => {});
      throwIfAborted(signal, "the download");
    }
  }
  const found = await hashOf(partial, hash.length === 64 ? "sha256" : "git", signal);
  if (found !== hash) {
    await rm(partial, { force: true });
    throw new InputError(expected(`content of hash ${hash}`, request.url, found), {
      code: "DOWNLOAD_CORRUPT",
      hint: "What came is not what was published, and was thrown away: download again.",
    });
  }
  await rename(partial, path);
}

async function append({ url, bytes, headers, fetch, signal, onBytes }: BlobRequest, partial: string, from: number) {
  const handle = await open(partial, from === 0 ? "w" : "r+").catch((error) =>
    Promise.reject(diskError(error, partial)),
  );
  try {
    let at = from;
    onBytes(at);
    if (bytes === 0) return;
    const range: Record<string, string> = from > 0 ? { Range: `bytes=${from}-` } : {};
    const response = await fetch(url, { headers: { ...headers, ...range }, ...(signal && { signal }) });
    if (!response.ok || !response.body) throw refused(url, response.status);
    // A server that knows no ranges sends everything.
    if (response.status !== 206) at = 0;
    for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>) {
      if (at + piece.length > bytes) throw new Error(`more than ${bytes} bytes came`);
      await writeAt(handle, piece, at, signal).catch((error) => Promise.reject(diskError(error, partial)));
      at += piece.length;
      onBytes(at);
    }
    if (at < bytes) throw new Error(`the connection ended after ${at} of ${bytes} bytes`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function hashOf(path: string, kind: "sha256" | "git", signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash(kind === "git" ? "sha1" : "sha256");
  if (kind === "git") hash.update(`blob ${await sizeOf(path)}\0`);
  const handle: FileHandle = await open(path);
  try {
    const piece = new Uint8Array(2 ** 20);
    for (let at = 0; ; ) {
      const n = await readAt(handle, piece, at, signal);
      hash.update(piece.subarray(0, n));
      at += n;
      if (n < piece.length) return hash.digest("hex");
    }
  } finally {
    await handle.close();
  }
}

const sizeOf = async (path: string) => (await stat(path).catch(() => undefined))?.size ?? 0;

/** A refusal that another attempt may not meet is an ordinary error; what stays so is ours. */
function refused(url: string, status: number): Error {
  if (status === 429 || status >= 500 || status === 416) return new Error(`status ${status}`);
  return failed(url, new Error(`status ${status}`));
}

export function failed(what: string, cause: unknown): EnvironmentError {
  const why = (cause as Error).cause ?? cause;
  return new EnvironmentError(`Expected ${what} to be fetched but received ${(why as Error).message ?? why}`, {
    code: "DOWNLOAD_FAILED",
    hint: "Try again, it goes on where it stopped; what is in the cache already is served offline.",
    cause,
  });
}

/** An error of the file system as ours. */
export function diskError(error: NodeJS.ErrnoException, path: string): unknown {
  if (error.code === undefined || KraitError.is(error)) return error;
  const full = error.code === "ENOSPC" || error.code === "EDQUOT" || error.code === "EFBIG";
  return new EnvironmentError(expected("a file that can be written", path, error.code), {
    code: full ? "DISK_FULL" : "OUTPUT_NOT_WRITABLE",
    hint: full ? "Free some space, or choose another cache folder." : "Check the permissions of the cache folder.",
    cause: error,
  });
}
