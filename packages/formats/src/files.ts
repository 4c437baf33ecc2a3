import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { EnvironmentError, expected, InputError, KraitError, throwIfAborted, UsageError } from "@krait/core";

// One read or write call moves at most this much, so that an abort is seen soon; Node itself stops at 2 GiB.
const pieceBytes = 2 ** 24;

/**
 * Opens a file for reading that must be a regular one with something in it; never blocks on a pipe.
 *
 * Throws `InputError` (FILE_NOT_FOUND, NOT_A_FILE, FILE_EMPTY, FILE_NOT_READABLE).
 */
export async function openRegularFile(path: string): Promise<{ handle: FileHandle; size: number; mtimeMs: number }> {
  checkPath(path);
  let handle: FileHandle | undefined;
  try {
    refuseSpecial(path, await stat(path));
    // The path may have been swapped for a pipe meanwhile; opening one without O_NONBLOCK waits for a writer for ever.
    handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const info = await handle.stat();
    refuseSpecial(path, info);
    if (info.size === 0) {
      throw new InputError(expected("a file with content", path, "an empty file"), {
        code: "FILE_EMPTY",
        hint: "The download or the program that wrote it probably failed; fetch or write it again.",
      });
    }
    return { handle, size: info.size, mtimeMs: info.mtimeMs };
  } catch (error) {
    await handle?.close();
    throw readError(error, path);
  }
}

/** Fills `target` from `position` on. Returns the bytes read: fewer than asked only at the end of the file. */
export async function readAt(
  handle: FileHandle,
  target: Uint8Array,
  position: number,
  signal?: AbortSignal,
): Promise<number> {
  let done = 0;
  while (done < target.length) {
    throwIfAborted(signal, "the read");
    const wanted = Math.min(pieceBytes, target.length - done);
    const { bytesRead } = await handle.read(target, done, wanted, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Writes all of `bytes` at `position`. */
export async function writeAt(
  handle: FileHandle,
  bytes: Uint8Array,
  position: number,
  signal?: AbortSignal,
): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    throwIfAborted(signal, "the write");
    const wanted = Math.min(pieceBytes, bytes.length - done);
    done += (await handle.write(bytes, done, wanted, position + done)).bytesWritten;
  }
}

/**
 * Writes a file so that `path` holds either what it held before or all of the new content: a temporary file beside it,
 * flushed to the disk, then renamed. On any failure the temporary file goes.
 *
 * Throws `EnvironmentError` (DISK_FULL, OUTPUT_NOT_WRITABLE, OUTPUT_FOLDER_MISSING), `UsageError` (NOT_A_FILE).
 */
export async function writeAtomically(
  path: string,
  write: (handle: FileHandle) => Promise<void>,
  temporary = `${path}.${process.pid}-${randomBytes(4).toString("hex")}.tmp`,
): Promise<void> {
  await checkOutputPath(path);
  let handle: FileHandle | undefined;
  try {
    handle = await open(temporary, "wx");
    await write(handle);
    await handle.sync();
    await handle.close();
    handle = undefined;
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await handle?.close().catch(() => {});
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") await rm(temporary, { force: true }).catch(() => {});
    throw writeError(error, path);
  }
}

/** A path that may be written: free, or a regular file to replace. A rename over a device or pipe would destroy it. */
export async function checkOutputPath(path: string): Promise<void> {
  checkPath(path);
  const info = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw writeError(error, path);
  });
  if (info !== undefined && !info.isFile()) {
    throw new UsageError(expected("a file or a free name", `the output ${path}`, kindOf(info)), {
      code: "NOT_A_FILE",
      hint: "Name a file to write.",
    });
  }
}

/** Turns an error of the file system into the SDK's own; others pass through. */
export function writeError(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException)?.code;
  if (KraitError.is(error) || code === undefined) return error;
  const details = (name: string, hint: string) => ({ code: name, hint, cause: error });
  const message = expected("a writable file", `the output ${path}`, code);
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return new EnvironmentError(message, details("DISK_FULL", "Free some space, or write to another disk."));
    case "ENOENT":
    case "ENOTDIR":
      return new EnvironmentError(
        message,
        details("OUTPUT_FOLDER_MISSING", `Create the folder first: mkdir -p ${dirname(path)}`),
      );
    default:
      return new EnvironmentError(
        message,
        details("OUTPUT_NOT_WRITABLE", "Check the permissions of the folder and that the disk is healthy."),
      );
  }
}

function readError(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException)?.code;
  if (KraitError.is(error) || code === undefined) return error;
  if (code === "ENOENT" || code === "ENOTDIR" || code === "ENAMETOOLONG") {
    return new InputError(expected("an existing file", path, code), {
      code: "FILE_NOT_FOUND",
      hint: "Check the spelling of the path and the working directory.",
      cause: error,
    });
  }
  return new InputError(expected("a readable file", path, code), {
    code: "FILE_NOT_READABLE",
    hint: "Check the permissions of the file and of its folders.",
    cause: error,
  });
}

interface FileKind {
  isFile(): boolean;
  isDirectory(): boolean;
  isFIFO(): boolean;
  isSocket(): boolean;
}

function kindOf(info: FileKind): string {
  if (info.isDirectory()) return "a directory";
  if (info.isFIFO()) return "a pipe";
  return info.isSocket() ? "a socket" : "a device";
}

function refuseSpecial(path: string, info: FileKind): void {
  if (info.isFile()) return;
  throw new InputError(expected("a regular file", path, kindOf(info)), {
    code: "NOT_A_FILE",
    hint: "Name a file; what comes through a pipe must be saved to one first.",
  });
}

function checkPath(path: string): void {
  if (typeof path === "string" && path !== "" && !path.includes("\0")) return;
  throw new UsageError(expected("a path", "the file", path), {
    code: "INVALID_OPTION",
    hint: "A path is a string without NUL characters and not empty.",
  });
}

/** Without this a crash right after the rename can bring the old name back. Some systems cannot flush a folder. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close();
}
