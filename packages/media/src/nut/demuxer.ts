import { ByteReader, type PullBytes } from "./byte-reader.js";
import { crc32 } from "./crc.js";
import { Cursor, nutCut, nutError } from "./cursor.js";
import {
  checkedPayload,
  flag,
  type MainHeader,
  type NutStream,
  parseMainHeader,
  parseStreamHeader,
} from "./headers.js";

export interface NutPacket {
  stream: NutStream;
  /** Seconds. */
  time: number;
  /** Owned by the receiver. */
  data: Uint8Array;
}

const fileId = "nut/multimedia container\0";
const startcodes = new Map([
  ["4e4d7a561f5f04ad", "main"],
  ["4e5311405bf2f9db", "stream"],
  ["4e4be4adeeca4569", "syncpoint"],
  ["4e58dd672f23e64e", "index"],
  ["4e49ab68b596ba78", "info"],
] as const);
type PacketKind = typeof startcodes extends Map<string, infer V> ? V : never;

/** A main header is under 1 KiB, an info packet holds the tags of the source. */
const maxHeaderPacket = 4 * 2 ** 20;
/** More than the longest frame header without reserved fields. */
const maxFrameHeader = 64;
/** forward_ptr beyond this brings a checksum of its own, and elided headers stop at it. */
const smallPacket = 4096;

/**
 * A strict demuxer for the subset of NUT (revision 3) that ffmpeg writes for raw streams to a pipe: no seeking, no index,
 * no recovery. Checksums are verified and every size is bounded; anything else throws DECODER_OUTPUT_INVALID.
 */
export class NutDemuxer {
  readonly #reader: ByteReader;
  #main: MainHeader | undefined;
  readonly #streams: (NutStream | undefined)[] = [];
  readonly #lastPts: number[] = [];
  #synced = false;

  /** @param maxPacketBytes the largest frame that may come */
  constructor(
    pull: PullBytes,
    private readonly maxPacketBytes: number,
  ) {
    this.#reader = new ByteReader(pull);
  }

  /** Bytes taken from the pipe and not yet handed on. */
  get buffered(): number {
    return this.#reader.buffered;
  }

  /** Packets in the order of the pipe. Ends where the pipe ends between two packets; a cut inside one throws. */
  async *packets(): AsyncGenerator<NutPacket, void, undefined> {
    const head = await this.#reader.fill(fileId.length);
    if (head.length === 0) return;
    if (Buffer.from(head.subarray(0, fileId.length)).toString("latin1") !== fileId) throw nutError("other bytes");
    this.#reader.skip(fileId.length);
    for (;;) {
      const bytes = await this.#reader.fill(maxFrameHeader);
      if (bytes.length === 0) return;
      if (bytes[0] === 0x4e) await this.#headerPacket(bytes);
      else yield await this.#frame(bytes);
    }
  }

  async #headerPacket(bytes: Uint8Array): Promise<void> {
    const cursor = new Cursor(bytes, 8);
    const name = Buffer.from(bytes.subarray(0, 8)).toString("hex");
    const kind = (startcodes as Map<string, PacketKind>).get(name);
    if (kind === undefined) throw nutError(`the unknown startcode ${name}`);
    const size = cursor.v();
    if (size > maxHeaderPacket) throw nutError(`a header packet of ${size} bytes`);
    if (size > smallPacket) {
      const sum = crc32(bytes.subarray(0, cursor.offset));
      if (cursor.u32() !== sum) throw nutError("a header whose checksum fails");
    }
    this.#reader.skip(cursor.offset);
    const packet = new Uint8Array(size);
    if (!(await this.#reader.readInto(packet))) throw nutCut("a header");
    const payload = checkedPayload(packet);
    if (kind === "main") {
      // Headers are repeated for receivers that join late; the first ones stay in force.
      this.#main ??= parseMainHeader(payload);
    } else if (kind === "stream") {
      if (this.#main === undefined) throw nutError("a stream header before the main header");
      const stream = parseStreamHeader(payload, this.#main);
      this.#streams[stream.id] ??= stream;
    } else if (kind === "syncpoint") {
      this.#syncpoint(payload);
    }
  }

  /** Sets every stream's clock: its timestamps are coded as small differences from here on. */
  #syncpoint(payload: Uint8Array): void {
    const main = this.#main;
    if (main === undefined) throw nutError("a syncpoint before the main header");
    const coded = new Cursor(payload).v();
    const from = main.timeBases[coded % main.timeBases.length]!;
    const ticks = BigInt(Math.floor(coded / main.timeBases.length));
    for (let id = 0; id < main.streamCount; id++) {
      const stream = this.#streams[id];
      if (stream === undefined) throw nutError(`a syncpoint before the header of stream ${id}`);
      const { num, den } = stream.timeBase;
      // Exact: the product of ticks and two time bases passes 2^53.
      this.#lastPts[id] = Number((ticks * BigInt(from.num) * BigInt(den)) / (BigInt(from.den) * BigInt(num)));
    }
    this.#synced = true;
  }

  async #frame(bytes: Uint8Array): Promise<NutPacket> {
    const main = this.#main;
    if (main === undefined || !this.#synced) throw nutError("a frame before the headers");
    const cursor = new Cursor(bytes);
    const code = main.frameCodes[cursor.byte()]!;
    let flags = code.flags;
    if (flags & flag.invalid) throw nutError("a reserved frame code");
    if (flags & flag.coded) flags ^= cursor.v();
    if (flags & (flag.invalid | flag.sideData | flag.reserved)) throw nutError(`a frame with flags ${flags}`);
    const streamId = flags & flag.streamId ? cursor.v() : code.streamId;
    const stream = this.#streams[streamId];
    if (stream === undefined) throw nutError(`a frame of stream ${streamId}`);
    const pts = flags & flag.codedPts ? this.#codedPts(stream, cursor.v()) : this.#lastPts[streamId]! + code.ptsDelta;
    let size = code.sizeLsb + (flags & flag.sizeMsb ? cursor.v() * code.sizeMultiplier : 0);
    if (flags & flag.matchTime) cursor.s();
    let headerIndex = flags & flag.headerIndex ? cursor.v() : code.headerIndex;
    if (code.reservedCount > 0) throw nutError("a frame with reserved fields");
    if (size > smallPacket) headerIndex = 0;
    if (flags & flag.checksum) {
      const sum = crc32(bytes.subarray(0, cursor.offset));
      if (cursor.u32() !== sum) throw nutError("a frame whose checksum fails");
    } else if (size > 2 * 65536) {
      throw nutError(`a frame of ${size} bytes without a checksum`);
    }
    const elided = main.elided[headerIndex];
    if (elided === undefined || elided.length > size) throw nutError("a frame with a bad elided header");
    if (size > this.maxPacketBytes) throw nutError(`a frame of ${size} bytes`);
    if (!Number.isSafeInteger(pts) || pts < 0) throw nutError(`the timestamp ${pts}`);
    this.#lastPts[streamId] = pts;
    this.#reader.skip(cursor.offset);
    // Not zeroed first: it is filled whole or thrown away.
    const data = new Uint8Array(Buffer.allocUnsafeSlow(size).buffer);
    data.set(elided);
    size -= elided.length;
    if (!(await this.#reader.readInto(data.subarray(elided.length)))) throw nutCut("a frame");
    return { stream, time: (pts * stream.timeBase.num) / stream.timeBase.den, data };
  }

  /** Small codes hold the low bits of a timestamp near the last one, larger ones the whole. */
  #codedPts(stream: NutStream, coded: number): number {
    const range = 2 ** stream.msbPtsShift;
    if (coded >= range) return coded - range;
    const low = this.#lastPts[stream.id]! - Math.floor((range - 1) / 2);
    return low + ((((coded - low) % range) + range) % range);
  }
}
