import wavefile from "wavefile";
import type { WavHeader } from "./header.js";

const tags = { int: 1, float: 3, alaw: 6, mulaw: 7 } as const;

/** Mean of the channels of whole blocks, full scale ±1. */
export function monoSamples(header: WavHeader, blocks: Uint8Array): Float32Array {
  const { channels, blockAlign } = header;
  const { values, zero, scale } = unpack(header, blocks);
  const mono = new Float32Array(blocks.length / blockAlign);
  const factor = scale / channels;
  if (channels === 1) {
    for (let i = 0; i < mono.length; i++) mono[i] = (values[i]! - zero) * factor;
    return mono;
  }
  for (let i = 0; i < mono.length; i++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += values[i * channels + channel]! - zero;
    mono[i] = (sum * scale) / channels;
  }
  return mono;
}

interface Unpacked {
  /** Interleaved. */
  values: ArrayLike<number>;
  zero: number;
  scale: number;
}

function unpack(header: WavHeader, blocks: Uint8Array): Unpacked {
  const { encoding, bits } = header;
  const scale = 2 ** (1 - bits);
  // Copied to a place of their own, since typed arrays need aligned ones (slice() of a Buffer copies nothing). All machines that Node runs on are little-endian, as wav is.
  const buffer = () => new Uint8Array(blocks).buffer;
  if (encoding === "float") {
    return { values: bits === 32 ? new Float32Array(buffer()) : new Float64Array(buffer()), zero: 0, scale: 1 };
  }
  if (encoding !== "int") return companded(header, blocks);
  // 8-bit wav is the one unsigned kind.
  if (bits === 8) return { values: blocks, zero: 128, scale };
  if (bits === 16) return { values: new Int16Array(buffer()), zero: 0, scale };
  if (bits === 32) return { values: new Int32Array(buffer()), zero: 0, scale };
  const values = new Int32Array(blocks.length / 3);
  for (let i = 0, at = 0; i < values.length; i++, at += 3) {
    values[i] = ((blocks[at]! << 8) | (blocks[at + 1]! << 16) | (blocks[at + 2]! << 24)) >> 8;
  }
  return { values, zero: 0, scale };
}

/**
 * wavefile does the expansion. It trusts its input, so it gets the blocks behind a header that we write from the checked one, a bounded
 * piece at a time.
 */
function companded(header: WavHeader, blocks: Uint8Array): Unpacked {
  const wav = new wavefile.WaveFile(wrap(header, blocks));
  if (header.encoding === "alaw") wav.fromALaw();
  else wav.fromMuLaw();
  return { values: wav.getSamples(true, Float64Array) as Float64Array, zero: 0, scale: 2 ** -15 };
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
