/** A box of an mp4: its length, its four letters, what is in it. */
export function box(type: string, ...content: Uint8Array[]): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + content.reduce((sum, { length }) => sum + length, 0));
  head.write(type, 4, "latin1");
  return Buffer.concat([head, ...content]);
}

/** Numbers of 32 bits, as most boxes hold them. */
export function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value, 4 * i);
  return bytes;
}

const containers = new Set(["moov", "trak", "mdia", "minf", "stbl"]);

/** The same mp4 with the content of some boxes replaced; lengths follow. The index must stand behind the data. */
export function editBoxes(mp4: Buffer, edit: (type: string, content: Buffer) => Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at + 8 <= mp4.length; ) {
    const length = mp4.readUInt32BE(at);
    const type = mp4.toString("latin1", at + 4, at + 8);
    const content = mp4.subarray(at + 8, at + length);
    parts.push(box(type, edit(type, containers.has(type) ? editBoxes(content, edit) : content)));
    at += length;
  }
  return Buffer.concat(parts);
}

/** An EBML element of Matroska, its length in eight bytes. */
export function element(id: string, ...content: Uint8Array[]): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64BE(BigInt(content.reduce((sum, part) => sum + part.length, 0)) | (1n << 56n));
  return Buffer.concat([Buffer.from(id, "hex"), length, ...content]);
}

/** Where an element of Matroska begins, and where its content does and ends. Seeks the last one with this id. */
export function findElement(file: Buffer, id: string): { at: number; body: number; end: number } {
  const at = file.lastIndexOf(Buffer.from(id, "hex"));
  const sizeAt = at + id.length / 2;
  const bytes = Math.clz32(file[sizeAt] as number) - 23;
  let length = (file[sizeAt] as number) & (0xff >> bytes);
  for (let i = 1; i < bytes; i++) length = length * 256 + (file[sizeAt + i] as number);
  return { at, body: sizeAt + bytes, end: sizeAt + bytes + length };
}
