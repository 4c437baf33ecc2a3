import { type FileHandle, open } from "node:fs/promises";

/** Sample entries that stand in the place of a codec's where the samples are encrypted. ISO/IEC 14496-12, 8.12; the last two are Apple's. */
const encrypted = new Set(["encv", "enca", "encs", "enct", "encm", "drmi", "drms"]);
const pathToEntries = ["mdia", "minf", "stbl", "stsd"] as const;
/** A file of two hours in fragments of a second has 15,000 boxes at its top level. */
const maxBoxes = 1_000_000;

/**
 * Which tracks of an mp4 are encrypted, in their order in the file. ffprobe does not tell, and a decoder makes pictures of
 * noise out of them where the slice headers are in the clear. Reads box headers only; what is malformed counts as not encrypted.
 */
export async function encryptedTracks(path: string): Promise<boolean[]> {
  const file = await open(path);
  try {
    const walk = new BoxWalk(file);
    const { size } = await file.stat();
    const tracks: boolean[] = [];
    for await (const moov of walk.children(0, size, "moov")) {
      for await (const trak of walk.children(moov.body, moov.end, "trak")) {
        tracks.push(await hasEncryptedEntry(walk, trak, 0));
      }
    }
    return tracks;
  } finally {
    await file.close();
  }
}

interface Box {
  type: string;
  body: number;
  end: number;
}

async function hasEncryptedEntry(walk: BoxWalk, box: Box, depth: number): Promise<boolean> {
  const name = pathToEntries[depth];
  // The entries stand behind a version and their count.
  const from = name === undefined ? box.body + 8 : box.body;
  for await (const child of walk.children(from, box.end, name)) {
    if (name === undefined ? encrypted.has(child.type) : await hasEncryptedEntry(walk, child, depth + 1)) return true;
  }
  return false;
}

class BoxWalk {
  #left = maxBoxes;
  readonly #head = Buffer.alloc(16);

  constructor(private readonly file: FileHandle) {}

  /** Boxes between two offsets; of one type, or all. */
  async *children(from: number, end: number, type?: string): AsyncGenerator<Box, void, undefined> {
    for (let at = from; at + 8 <= end && this.#left > 0; this.#left--) {
      const { bytesRead } = await this.file.read(this.#head, 0, 16, at);
      if (bytesRead < 8) return;
      const short = this.#head.readUInt32BE(0);
      if (short === 1 && bytesRead < 16) return;
      const length = short === 0 ? end - at : short === 1 ? Number(this.#head.readBigUInt64BE(8)) : short;
      const header = short === 1 ? 16 : 8;
      if (length < header) return;
      const found = this.#head.toString("latin1", 4, 8);
      const box = { type: found, body: at + header, end: Math.min(end, at + length) };
      if (type === undefined || type === found) yield box;
      at = box.end;
    }
  }
}
