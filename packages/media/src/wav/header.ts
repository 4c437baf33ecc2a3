import type { FileHandle } from "node:fs/promises";
import { InputError } from "@krait/core";
import { checkSampleRate } from "../media-errors.js";

export type WavEncoding = "int" | "float" | "alaw" | "mulaw";

/** A checked wav header: every number in it is consistent with the others and with the size of the file. */
export interface WavHeader {
  encoding: WavEncoding;
  /** Bits as stored. */
  bits: number;
  channels: number;
  /** Hertz. */
  sampleRate: number;
  /** Bytes of one sample of all channels. */
  blockAlign: number;
  dataOffset: number;
  /** Whole blocks that are there. */
  blocks: number;
  /** Whole blocks that the header promises; more than `blocks` in a truncated file. */
  declaredBlocks: number;
}

const maxChunks = 1000;
/** Writers that cannot seek back leave these as the size: the data goes on to the end of the file. */
const unknownSizes = new Set([0xffffffff, 0x7fffffff, 0x7ffff000]);

/**
 * Reads and checks the chunks up to `data`. Throws `InputError` MEDIA_INVALID, MEDIA_TRUNCATED (no data chunk),
 * SOURCE_EMPTY (no samples) or MEDIA_UNSUPPORTED (a compressed kind that needs ffmpeg).
 */
export async function readWavHeader(file: FileHandle, path: string, fileBytes: number): Promise<WavHeader> {
  let format: Omit<WavHeader, "dataOffset" | "blocks" | "declaredBlocks"> | undefined;
  let offset = 12;
  for (let i = 0; i < maxChunks; i++) {
    const head = await readAt(file, offset, 8);
    if (head.length < 8) {
      throw new InputError(`Expected a data chunk for ${path} but received the end of the file`, {
        code: "MEDIA_TRUNCATED",
        hint: "The recording was cut before any sound: copy or record it again.",
      });
    }
    const id = head.toString("latin1", 0, 4);
    const size = head.readUInt32LE(4);
    offset += 8;
    if (id === "fmt ") {
      if (size < 16 || size > 4096) throw invalid(path, `a format chunk of ${size} bytes`);
      format = parseFormat(await readAt(file, offset, Math.min(size, 40)), path);
    } else if (id === "data") {
      if (format === undefined) throw invalid(path, "data before its format");
      return { ...format, dataOffset: offset, ...countBlocks(size, fileBytes - offset, format.blockAlign, path) };
    }
    offset += size + (size % 2);
  }
  throw invalid(path, `over ${maxChunks} chunks before the data`);
}

function countBlocks(size: number, present: number, blockAlign: number, path: string) {
  const open = unknownSizes.has(size) || (size === 0 && present > 0);
  const declared = Math.floor((open ? present : size) / blockAlign);
  if (declared === 0) {
    throw new InputError(`Expected samples for ${path} but received a wav file with none`, {
      code: "SOURCE_EMPTY",
      hint: "Check that the recording finished.",
    });
  }
  return { declaredBlocks: declared, blocks: Math.min(declared, Math.floor(present / blockAlign)) };
}

function parseFormat(chunk: Buffer, path: string) {
  if (chunk.length < 16) throw invalid(path, "a format chunk cut short");
  let tag = chunk.readUInt16LE(0);
  const channels = chunk.readUInt16LE(2);
  const sampleRate = chunk.readUInt32LE(4);
  const blockAlign = chunk.readUInt16LE(12);
  const bits = chunk.readUInt16LE(14);
  // WAVE_FORMAT_EXTENSIBLE: the kind is the first half-word of a GUID.
  if (tag === 0xfffe) {
    if (chunk.length < 40) throw invalid(path, "an extensible format chunk cut short");
    tag = chunk.readUInt16LE(24);
  }
  const encoding = encodings[tag];
  if (encoding === undefined || !encoding.bits.includes(bits)) {
    if (encoding === undefined && tag !== 0) {
      throw new InputError(`Expected PCM, float, A-law or mu-law samples for ${path} but received wav format ${tag}`, {
        code: "MEDIA_UNSUPPORTED",
        hint: "Convert it first: `ffmpeg -i INPUT -c:a pcm_s16le output.wav`.",
      });
    }
    throw invalid(path, `wav format ${tag} with ${bits} bits`);
  }
  if (channels === 0) throw invalid(path, "0 channels");
  checkSampleRate(sampleRate, path);
  if (blockAlign !== (channels * bits) / 8) {
    throw invalid(path, `blocks of ${blockAlign} bytes for ${channels} channels of ${bits} bits`);
  }
  return { encoding: encoding.name, bits, channels, sampleRate, blockAlign };
}

const encodings: Record<number, { name: WavEncoding; bits: readonly number[] }> = {
  1: { name: "int", bits: [8, 16, 24, 32] },
  3: { name: "float", bits: [32, 64] },
  6: { name: "alaw", bits: [8] },
  7: { name: "mulaw", bits: [8] },
};

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}

function invalid(path: string, received: string): InputError {
  return new InputError(`Expected a sound wav header for ${path} but received ${received}`, {
    code: "MEDIA_INVALID",
    hint: "The file is damaged or not a wav file: export it again.",
  });
}
