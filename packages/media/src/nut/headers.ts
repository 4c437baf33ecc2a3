import { crc32 } from "./crc.js";
import { Cursor, nutError } from "./cursor.js";

export const flag = {
  codedPts: 8,
  streamId: 16,
  sizeMsb: 32,
  checksum: 64,
  reserved: 128,
  sideData: 256,
  headerIndex: 1024,
  matchTime: 2048,
  coded: 4096,
  invalid: 8192,
} as const;

/** One row of the frame code table: what a frame's first byte says at once. */
export interface FrameCode {
  flags: number;
  streamId: number;
  sizeMultiplier: number;
  sizeLsb: number;
  ptsDelta: number;
  reservedCount: number;
  headerIndex: number;
}

export interface MainHeader {
  streamCount: number;
  timeBases: { num: number; den: number }[];
  frameCodes: FrameCode[];
  /** Bytes left out of the front of small frames; index 0 is empty. */
  elided: Uint8Array[];
}

export interface NutStream {
  id: number;
  kind: "video" | "audio";
  fourcc: string;
  /** Seconds per tick, as a fraction. */
  timeBase: { num: number; den: number };
  timeBaseId: number;
  msbPtsShift: number;
  width: number;
  height: number;
  sampleRate: number;
  channels: number;
}

const maxNutStreams = 16;

/** Follows "NUT open container format", revision 3, main header. */
export function parseMainHeader(payload: Uint8Array): MainHeader {
  const cursor = new Cursor(payload);
  const version = cursor.v();
  if (version !== 3) throw nutError(`version ${version}`);
  const streamCount = cursor.v();
  if (streamCount < 1 || streamCount > maxNutStreams) throw nutError(`${streamCount} streams`);
  cursor.v(); // max_distance: only matters for recovering from damage
  const timeBaseCount = cursor.v();
  if (timeBaseCount < 1 || timeBaseCount > maxNutStreams) throw nutError(`${timeBaseCount} time bases`);
  const timeBases = Array.from({ length: timeBaseCount }, () => {
    const num = cursor.v();
    const den = cursor.v();
    if (num < 1 || den < 1 || num >= 2 ** 31 || den >= 2 ** 31) throw nutError(`the time base ${num}/${den}`);
    return { num, den };
  });
  const frameCodes = parseFrameCodes(cursor, streamCount);
  const elided: Uint8Array[] = [new Uint8Array(0)];
  if (cursor.left > 0) {
    const count = cursor.v();
    if (count > 127) throw nutError(`${count} elided headers`);
    for (let i = 0; i < count; i++) elided.push(cursor.vb().slice());
  }
  return { streamCount, timeBases, frameCodes, elided };
}

const startcodeLetter = 0x4e; // 'N' opens a startcode and is never a frame code

function parseFrameCodes(cursor: Cursor, streamCount: number): FrameCode[] {
  const codes: FrameCode[] = [];
  let ptsDelta = 0;
  let sizeMultiplier = 1;
  let streamId = 0;
  let headerIndex = 0;
  while (codes.length < 256) {
    const flags = cursor.v();
    const fields = cursor.v();
    if (fields > 64) throw nutError("a frame code with too many fields");
    if (fields > 0) ptsDelta = cursor.s();
    if (fields > 1) sizeMultiplier = cursor.v();
    if (fields > 2) streamId = cursor.v();
    const sizeLsb = fields > 3 ? cursor.v() : 0;
    const reservedCount = fields > 4 ? cursor.v() : 0;
    let count = fields > 5 ? cursor.v() : sizeMultiplier - sizeLsb;
    if (fields > 6) cursor.s();
    if (fields > 7) headerIndex = cursor.v();
    for (let i = 8; i < fields; i++) cursor.v();
    if (count < 1 || count > 256 || sizeMultiplier > 2 ** 14 || streamId >= streamCount) {
      throw nutError("a frame code table that breaks its own rules");
    }
    for (let lsb = sizeLsb; count > 0 && codes.length < 256; ) {
      const invalid = codes.length === startcodeLetter;
      codes.push({
        flags: invalid ? flag.invalid : flags,
        streamId,
        sizeMultiplier,
        sizeLsb: lsb,
        ptsDelta,
        reservedCount,
        headerIndex,
      });
      if (invalid) continue;
      lsb++;
      count--;
    }
  }
  return codes;
}

export function parseStreamHeader(payload: Uint8Array, main: MainHeader): NutStream {
  const cursor = new Cursor(payload);
  const id = cursor.v();
  if (id >= main.streamCount) throw nutError(`stream ${id} of ${main.streamCount}`);
  const streamClass = cursor.v();
  if (streamClass > 1) throw nutError(`a stream of class ${streamClass}`);
  const fourcc = Buffer.from(cursor.vb()).toString("latin1");
  const timeBaseId = cursor.v();
  const timeBase = main.timeBases[timeBaseId];
  if (timeBase === undefined) throw nutError(`time base ${timeBaseId} of ${main.timeBases.length}`);
  const msbPtsShift = cursor.v();
  if (msbPtsShift > 30) throw nutError(`a timestamp shift of ${msbPtsShift}`);
  cursor.v(); // max_pts_distance
  cursor.v(); // decode_delay: raw streams have none
  cursor.v(); // flags
  cursor.vb(); // codec-specific data
  const stream: NutStream = {
    id,
    kind: streamClass === 0 ? "video" : "audio",
    fourcc,
    timeBase,
    timeBaseId,
    msbPtsShift,
    width: 0,
    height: 0,
    sampleRate: 0,
    channels: 0,
  };
  if (stream.kind === "video") {
    stream.width = cursor.v();
    stream.height = cursor.v();
  } else {
    const num = cursor.v();
    const den = cursor.v();
    stream.sampleRate = num / den;
    stream.channels = cursor.v();
  }
  return stream;
}

/** Checks the CRC that closes a packet and returns what stands before it. */
export function checkedPayload(packet: Uint8Array): Uint8Array {
  if (packet.length < 4) throw nutError("a packet too short for its checksum");
  const payload = packet.subarray(0, packet.length - 4);
  if (crc32(payload) !== new Cursor(packet, packet.length - 4).u32()) throw nutError("a packet whose checksum fails");
  return payload;
}
