import wavefile from "wavefile";
import type { WavHeader } from "./header.js";

const tags = { int: 1, float: 3, alaw: 6, mulaw: 7 } as const;

/**
 * Mean of the channels of whole blocks, full scale ±1.
 *
 * wavefile does the unpacking. It trusts its input, so it gets the blocks behind a header that we write from the checked
 * one, a bounded piece at a time.
 */
export function monoSamples(header: WavHeader, blocks: Uint8Array): Float32Array {
  const wav = new wavefile.WaveFile(wrap(header, blocks));
  if (header.encoding === "alaw") wav.fromALaw();
  else if (header.encoding === "mulaw") wav.fromMuLaw();
  const { channels } = header;
  const values = wav.getSamples(true, Float64Array) as Float64Array;
  const bits = header.encoding === "int" ? header.bits : 16;
  const scale = header.encoding === "float" ? 1 : 2 ** (1 - bits);
  // 8-bit wav is the one unsigned kind.
  const zero = header.encoding === "int" && bits === 8 ? 128 : 0;
  const mono = new Float32Array(blocks.length / header.blockAlign);
  for (let i = 0; i < mono.length; i++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += values[i * channels + channel]! - zero;
    mono[i] = (sum * scale) / channels;
  }
  return mono;
}

function wrap({ encoding, bits, channels, sampleRate, blockAlign }: WavHeader, blocks: Uint8Array): Uint8Array {
  const padded = blocks.length + (blocks.length % 2);
  const file = Buffer.alloc(44 + padded);
  file.write("RIFF", 0, "latin1");
  file.writeUInt32LE(36 + padded, 4);
  file.write("WAVEfmt ", 8, "latin1");
  file.writeUInt32LE(16, 16);
  file.writeUInt16LE(tags[encoding], 20);
  file.writeUInt16LE(channels, 22);
  file.writeUInt32LE(sampleRate, 24);
  file.writeUInt32LE(sampleRate * blockAlign, 28);
  file.writeUInt16LE(blockAlign, 32);
  file.writeUInt16LE(bits, 34);
  file.write("data", 36, "latin1");
  file.writeUInt32LE(blocks.length, 40);
  file.set(blocks, 44);
  return file;
}
