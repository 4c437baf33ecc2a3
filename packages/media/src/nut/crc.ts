const polynomial = 0x04c11db7;
const table = new Uint32Array(256);
for (let i = 0; i < 256; i++) {
  let value = i << 24;
  for (let bit = 0; bit < 8; bit++) value = value & 0x80000000 ? (value << 1) ^ polynomial : value << 1;
  table[i] = value >>> 0;
}

/** NUT's checksum: CRC-32 with generator 0x04C11DB7, most significant bit first, start value 0, no final inversion. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  let crc = seed;
  for (let i = 0; i < bytes.length; i++) crc = ((crc << 8) ^ table[(crc >>> 24) ^ bytes[i]!]!) >>> 0;
  return crc;
}
