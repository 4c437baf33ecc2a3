/** The fields of a wav file; each may lie. */
export interface WavFields {
  /** 1 int, 3 float. */
  tag?: number;
  channels?: number;
  rate?: number;
  bits?: number;
  blockAlign?: number;
  data?: Uint8Array;
  /** What the data chunk says of its size. */
  dataSize?: number;
}

/** A wav file of these fields, otherwise honest: mono, 16 kHz, 16 bits, a second of silence. */
export function wavFile(fields: WavFields = {}): Buffer {
  const { tag = 1, channels = 1, rate = 16000, bits = 16, data = new Uint8Array(32_000) } = fields;
  const { blockAlign = (channels * bits) / 8, dataSize = data.length } = fields;
  const head = Buffer.alloc(44);
  head.write("RIFF", 0);
  head.writeUInt32LE(36 + data.length, 4);
  head.write("WAVEfmt ", 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(tag, 20);
  head.writeUInt16LE(channels, 22);
  head.writeUInt32LE(rate, 24);
  head.writeUInt32LE((rate * blockAlign) >>> 0, 28);
  head.writeUInt16LE(blockAlign, 32);
  head.writeUInt16LE(bits, 34);
  head.write("data", 36);
  head.writeUInt32LE(dataSize, 40);
  return Buffer.concat([head, data]);
}
