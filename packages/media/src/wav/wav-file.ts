import { type FileHandle, open } from "node:fs/promises";
import type { Limits } from "@krait/core";
import { checkFinite } from "../audio-timeline.js";
import { checkChannels, checkDuration } from "../media-errors.js";
import type { MediaInfo } from "../media-info.js";
import { type Source, unreadable } from "../open-source.js";
import { readWavHeader, type WavHeader } from "./header.js";
import { monoSamples } from "./samples.js";

/** Bytes unpacked at once. */
const pieceBytes = 2 ** 18;

export interface WavFile {
  header: WavHeader;
  durationSeconds: number;
  /** Mono samples of blocks [from, to), in bounded pieces. Throws `InputError` SAMPLES_NOT_FINITE. */
  mono(from: number, to: number): AsyncGenerator<Float32Array, void, undefined>;
  close(): Promise<void>;
}

export async function openWav(source: Source, limits: Limits): Promise<WavFile> {
  const file = await open(source.path).catch((cause: NodeJS.ErrnoException) => {
    throw unreadable(source.path, cause);
  });
  try {
    const header = await readWavHeader(file, source.path, source.bytes);
    checkChannels(header.channels, source.path, limits);
    return {
      header,
      durationSeconds: header.blocks / header.sampleRate,
      mono: (from, to) => readMono(file, header, source.path, from, to),
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function* readMono(file: FileHandle, header: WavHeader, path: string, from: number, to: number) {
  const step = Math.max(1, Math.floor(pieceBytes / header.blockAlign));
  for (let block = from; block < to; block += step) {
    const count = Math.min(step, to - block);
    const bytes = Buffer.alloc(count * header.blockAlign);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, header.dataOffset + block * header.blockAlign);
    const samples = monoSamples(header, bytes.subarray(0, bytesRead - (bytesRead % header.blockAlign)));
    checkFinite(samples, block / header.sampleRate, header.sampleRate, path);
    yield samples;
    if (bytesRead < bytes.length) return;
  }
}

const codecs = {
  int: (bits: number) => (bits === 8 ? "pcm_u8" : `pcm_s${bits}le`),
  float: (bits: number) => `pcm_f${bits}le`,
  alaw: () => "pcm_alaw",
  mulaw: () => "pcm_mulaw",
};

/** What `probe` says of a wav file, without ffprobe. */
export async function probeWav(source: Source, limits: Limits): Promise<MediaInfo> {
  const wav = await openWav(source, limits);
  const { header, durationSeconds } = wav;
  await wav.close();
  checkDuration(durationSeconds, source.path, limits);
  return {
    path: source.path,
    container: "wav",
    durationSeconds,
    bytes: source.bytes,
    streams: [
      {
        index: 0,
        kind: "audio",
        codec: codecs[header.encoding](header.bits),
        startSeconds: 0,
        durationSeconds,
        sampleRate: header.sampleRate,
        channels: header.channels,
        isDefault: true,
      },
    ],
  };
}
