import { constants } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { defaultLimits, expected, InputError, type Limits } from "@krait/core";
import { type BytePipe, type ByteStream, pipeOf } from "./byte-pipe.js";
import { type Sniffed, sniff, sniffBytes } from "./sniff.js";

/** What `probe` and `decode` read: a path, "-" for standard input, or a stream of bytes, which is read once. */
export type MediaInput = string | ByteStream;

export interface Source extends Sniffed {
  /** Absolute; for a pipe its name. */
  path: string;
  bytes: number;
  /** Where the bytes come from when they are no file. */
  pipe?: BytePipe;
  /** The images of a folder, in order. */
  files?: string[];
}

/**
 * Checks that a path names a readable, non-empty regular file that is no playlist, or a folder of images, before any decoder sees it; of a
 * pipe it reads the first bytes.
 *
 * A FIFO or device is refused by its kind, never opened: opening would block. Throws `InputError` with
 * SOURCE_NOT_FOUND, SOURCE_IS_ADDRESS, SOURCE_IS_DIRECTORY, SOURCE_NOT_A_FILE, SOURCE_UNREADABLE, SOURCE_EMPTY or
 * SOURCE_IS_PLAYLIST.
 */
export async function openSource(
  source: MediaInput,
  limits: Limits = defaultLimits,
  signal?: AbortSignal,
): Promise<Source> {
  if (typeof source !== "string" || source === "-") return openPipe(pipeOf(source), limits, signal);
  const path = toPath(source);
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    throw unreadable(path, cause);
  });
  if (found.isDirectory()) {
    const files = await imagesOf(path);
    if (files.length > 0) return { kind: "folder", format: "images", path, bytes: 0, files };
    throw new InputError(`Expected a media file for ${path} but received a directory`, {
      code: "SOURCE_IS_DIRECTORY",
      hint: "Name the files inside it, one by one; a folder of images (.png, .jpg …) is read as a video.",
    });
  }
  if (!found.isFile()) {
    const what = found.isFIFO() ? "a FIFO" : found.isSocket() ? "a socket" : "a device";
    throw new InputError(`Expected a regular file for ${path} but received ${what}`, {
      code: "SOURCE_NOT_A_FILE",
      hint: "Save the stream to a file first: times and seeking need one.",
    });
  }
  if (found.size === 0) {
    throw new InputError(`Expected media for ${path} but received an empty file`, {
      code: "SOURCE_EMPTY",
      hint: "Check that the recording or download finished.",
    });
  }
  const sniffed = sniff(await readHead(path));
  if (sniffed.kind === "playlist") throw playlist(path, sniffed.format);
  return { ...sniffed, path, bytes: found.size };
}

async function openPipe(pipe: BytePipe, limits: Limits, signal: AbortSignal | undefined): Promise<Source> {
  const head = await pipe.peek(sniffBytes, limits, signal);
  if (head.length === 0) {
    throw new InputError(`Expected media for ${pipe.name} but received an empty stream`, {
      code: "SOURCE_EMPTY",
      hint: "Check that the program before the pipe writes something.",
    });
  }
  const sniffed = sniff(head);
  if (sniffed.kind === "playlist") throw playlist(pipe.name, sniffed.format);
  // A wav file of unknown length has to go through ffmpeg.
  const kind = sniffed.kind === "image" ? "image" : "media";
  return { format: sniffed.format, kind, path: pipe.name, bytes: 0, pipe };
}

const imageName = /\.(png|jpe?g|webp|tiff?|avif|heic|heif|gif)$/i;
const byName = new Intl.Collator("en", { numeric: true });

/** Regular files with the ending of an image, hidden ones left out, in natural order: 2.png before 10.png. */
async function imagesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: NodeJS.ErrnoException) => {
    throw unreadable(folder, cause);
  });
  return entries
    .filter((entry) => !entry.isDirectory() && !entry.name.startsWith(".") && imageName.test(entry.name))
    .map((entry) => entry.name)
    .sort((a, b) => byName.compare(a, b) || (a < b ? -1 : 1))
    .map((name) => join(folder, name));
}

export function playlist(path: string, format: string): InputError {
  return new InputError(`Expected media for ${path} but received a playlist (${format})`, {
    code: "SOURCE_IS_PLAYLIST",
    hint: "Playlists point at other files and addresses and are never followed: name the media files themselves.",
  });
}

function toPath(source: string): string {
  if (source.startsWith("file://")) {
    try {
      return fileURLToPath(source);
    } catch (cause) {
      throw new InputError(expected("a local file URL", "the source", source), {
        code: "SOURCE_NOT_FOUND",
        hint: "Give a plain path.",
        cause,
      });
    }
  }
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(source)) {
    throw new InputError(expected("a path on this machine", "the source", source), {
      code: "SOURCE_IS_ADDRESS",
      hint: "Nothing is fetched from the network: download the file and give its path.",
    });
  }
  if (source === "" || source.includes("\0")) {
    throw new InputError(expected("a path", "the source", source), {
      code: "SOURCE_NOT_FOUND",
      hint: "Give the path of a media file.",
    });
  }
  return resolve(source);
}

async function readHead(path: string): Promise<Uint8Array> {
  // Non-blocking, so that a file swapped for a FIFO since the check cannot hang the open.
  const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch(
    (cause: NodeJS.ErrnoException) => {
      throw unreadable(path, cause);
    },
  );
  try {
    const head = Buffer.alloc(sniffBytes);
    const { bytesRead } = await file.read(head, 0, sniffBytes, 0);
    return head.subarray(0, bytesRead);
  } catch (cause) {
    throw unreadable(path, cause as NodeJS.ErrnoException);
  } finally {
    await file.close();
  }
}

export function unreadable(path: string, cause: NodeJS.ErrnoException): InputError {
  if (cause.code === "ENOENT" || cause.code === "ENOTDIR" || cause.code === "ENAMETOOLONG") {
    return new InputError(`Expected a media file for ${path} but received a path where nothing is`, {
      code: "SOURCE_NOT_FOUND",
      hint: "Check the spelling and the folder the command runs in.",
      cause,
    });
  }
  return new InputError(`Expected a readable file for ${path} but received ${cause.code ?? cause.message}`, {
    code: "SOURCE_UNREADABLE",
    hint: "Check the permissions of the file and of the folders above it.",
    cause,
  });
}
