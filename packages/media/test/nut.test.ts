import { execFileSync } from "node:child_process";
import { beforeAll, describe, expect, test } from "vitest";
import { crc32 } from "../src/nut/crc.js";
import { Cursor } from "../src/nut/cursor.js";
import { NutDemuxer, type NutPacket } from "../src/nut/demuxer.js";
import { expectCode } from "./helpers.js";

/** A pipe that gives `bytes` in pieces of the sizes `next` asks for. */
function pipe(bytes: Uint8Array, next: () => number) {
  let offset = 0;
  return async () => {
    if (offset >= bytes.length) return undefined;
    const piece = bytes.subarray(offset, offset + next());
    offset += piece.length;
    return piece;
  };
}

async function demux(bytes: Uint8Array, next = () => 65536, maxPacket = 2 ** 20): Promise<NutPacket[]> {
  const packets: NutPacket[] = [];
  for await (const packet of new NutDemuxer(pipe(bytes, next), maxPacket).packets()) packets.push(packet);
  return packets;
}

const attempt = (bytes: Uint8Array, maxPacket?: number) =>
  demux(bytes, undefined, maxPacket).then(
    (packets) => ({ packets, error: undefined as unknown }),
    (error: unknown) => ({ packets: [], error }),
  );

let stream: Buffer;
beforeAll(() => {
  const args =
    "-v error -f lavfi -i testsrc2=size=16x12:rate=30000/1001:duration=40 -f lavfi -i sine=sample_rate=16000:duration=40 " +
    "-c:v rawvideo -pix_fmt rgb24 -c:a pcm_f32le -f nut pipe:1";
  stream = execFileSync("ffmpeg", args.split(" "), { maxBuffer: 2 ** 26 });
});

describe("numbers", () => {
  test("v, s and vb as the format defines them", () => {
    expect(new Cursor(Uint8Array.of(0x81, 0x00)).v()).toBe(128);
    expect(new Cursor(Uint8Array.of(0xff, 0x7f)).v()).toBe(16383);
    expect([0, 1, 2, 3, 4].map((byte) => new Cursor(Uint8Array.of(byte)).s())).toEqual([0, 1, -1, 2, -2]);
    expect(new Cursor(Uint8Array.of(2, 7, 8, 9)).vb()).toEqual(Uint8Array.of(7, 8));
    expect(() => new Cursor(Uint8Array.of(3, 7)).vb()).toThrow(/longer than its header/);
    expect(() => new Cursor(new Uint8Array(20).fill(0xff)).v()).toThrow(/53 bits/);
    expect(() => new Cursor(Uint8Array.of(0x80)).v()).toThrow(/too early/);
  });

  test("the checksum is the most-significant-bit-first CRC-32, without inversions", () => {
    // The published check value of CRC-32/MPEG-2 starts from all ones; from zero the polynomial itself is the CRC of 0x01.
    expect(crc32(Uint8Array.of(1))).toBe(0x04c11db7);
    expect(crc32(Buffer.from("123456789"), 0xffffffff)).toBe(0x0376e6e7);
  });
});

describe("a stream as ffmpeg writes it", () => {
  test("frames, samples and times come out exactly", async () => {
    const packets = await demux(stream);
    const video = packets.filter((packet) => packet.stream.kind === "video");
    const audio = packets.filter((packet) => packet.stream.kind === "audio");
    expect(video).toHaveLength(Math.ceil((40 * 30000) / 1001));
    for (const [i, packet] of video.entries()) {
      expect(packet.time).toBeCloseTo((i * 1001) / 30000, 9);
      expect(packet.data).toHaveLength(16 * 12 * 3);
    }
    expect(video[0]!.stream).toMatchObject({ width: 16, height: 12 });
    expect(audio[0]!.stream).toMatchObject({ sampleRate: 16000, channels: 1 });
    let samples = 0;
    for (const packet of audio) {
      expect(packet.time).toBeCloseTo(samples / 16000, 9);
      samples += packet.data.length / 4;
    }
    expect(samples).toBe(640_000);
  });

  test("however the pipe cuts it", async () => {
    const short = execFileSync("ffmpeg", [
      ..."-v error -f lavfi -i testsrc2=size=16x12:rate=10:duration=2 -c:v rawvideo -pix_fmt rgb24 -f nut pipe:1".split(
        " ",
      ),
    ]);
    const whole = await demux(short);
    expect(whole).toHaveLength(20);
    let state = 7;
    const random = () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return 1 + ((state >>> 16) % 700);
    };
    for (const next of [() => 1, () => 7, random]) {
      const pieces = await demux(short, next);
      expect(pieces.map(({ time, data }) => [time, data])).toEqual(whole.map(({ time, data }) => [time, data]));
    }
  });
});

describe("a stream that is none", () => {
  test("empty is no packets; a cut inside a packet is an error", async () => {
    expect(await demux(new Uint8Array(0))).toEqual([]);
    let cuts = 0;
    for (let length = 1; length < 3000; length += 13) {
      const { error } = await attempt(stream.subarray(0, length));
      if (error !== undefined) {
        cuts++;
        expect((error as { code: string }).code).toMatch(/^DECODER_OUTPUT_(CUT|INVALID)$/);
      }
    }
    expect(cuts).toBeGreaterThan(200);
  });

  test("other bytes, and frames larger than allowed", async () => {
    expectCode((await attempt(Buffer.from("RIFF".padEnd(100)))).error, "DECODER_OUTPUT_INVALID");
    expectCode((await attempt(stream, 100)).error, "DECODER_OUTPUT_INVALID");
  });

  test("any flipped byte in the headers is caught", async () => {
    const headers = stream.indexOf(Buffer.from("4e4be4adeeca4569", "hex"));
    expect(headers).toBeGreaterThan(100);
    const copy = Buffer.from(stream.subarray(0, headers + 5000));
    for (let i = 0; i < headers + 20; i++) {
      copy[i]! ^= 0x15;
      const { error } = await attempt(copy);
      copy[i]! ^= 0x15;
      expect((error as { code?: string } | undefined)?.code, `byte ${i}`).toMatch(/^DECODER_OUTPUT_(CUT|INVALID)$/);
    }
  });

  test("noise after the headers throws typed errors or nothing", async () => {
    const headers = stream.indexOf(Buffer.from("4e4be4adeeca4569", "hex"));
    let state = 99;
    for (let round = 0; round < 300; round++) {
      const copy = Buffer.from(stream.subarray(0, headers + 4000));
      for (let i = headers + 16; i < copy.length; i++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        copy[i] = state >>> 24;
      }
      const { error } = await attempt(copy);
      if (error !== undefined) expect((error as { code?: string }).code).toMatch(/^DECODER_OUTPUT_/);
    }
  });
});
