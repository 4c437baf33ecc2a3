import { writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decode, probe, readWav } from "../src/index.js";
import { collect, decoded, expectCode, expectRejection, ffmpeg, joinAudio, temporaryFolder } from "./helpers.js";

const at = temporaryFolder();
const audio = { sampleRate: 16000 } as const;

interface WavParts {
  tag?: number;
  channels?: number;
  rate?: number;
  bits?: number;
  blockAlign?: number;
  dataSize?: number;
  riffSize?: number;
  data?: Uint8Array;
  before?: Buffer;
  format?: Buffer;
}

function wav(parts: WavParts = {}): Buffer {
  const { tag = 1, channels = 1, rate = 16000, bits = 16, data = Buffer.alloc(3200), before = Buffer.alloc(0) } = parts;
  const format = parts.format ?? Buffer.alloc(16);
  if (parts.format === undefined) {
    format.writeUInt16LE(tag, 0);
    format.writeUInt16LE(channels, 2);
    format.writeUInt32LE(rate, 4);
    format.writeUInt32LE(((rate * channels * bits) / 8) >>> 0, 8);
    format.writeUInt16LE(parts.blockAlign ?? (channels * bits) / 8, 12);
    format.writeUInt16LE(bits, 14);
  }
  const head = (id: string, size: number) => {
    const bytes = Buffer.alloc(8);
    bytes.write(id, "latin1");
    bytes.writeUInt32LE(size, 4);
    return bytes;
  };
  const body = Buffer.concat([
    Buffer.from("WAVE"),
    head("fmt ", format.length),
    format,
    before,
    head("data", parts.dataSize ?? data.length),
    data,
  ]);
  return Buffer.concat([head("RIFF", parts.riffSize ?? body.length), body]);
}

function save(name: string, bytes: Uint8Array): string {
  writeFileSync(at(name), bytes);
  return at(name);
}

const int16 = (...values: number[]) => new Uint8Array(Int16Array.from(values).buffer);

describe("encodings", () => {
  test("full scale is ±1 in every depth", async () => {
    const read = async (parts: WavParts) => [...(await readWav(save("depth.wav", wav(parts)))).samples];
    expect(await read({ data: int16(0, 16384, -32768, 32767) })).toEqual([0, 0.5, -1, 32767 / 32768]);
    expect(await read({ bits: 8, data: Uint8Array.of(128, 192, 0, 255) })).toEqual([0, 0.5, -1, 127 / 128]);
    expect(await read({ bits: 24, data: Uint8Array.of(0, 0, 0x40, 0, 0, 0x80) })).toEqual([0.5, -1]);
    const wide = new Uint8Array(Int32Array.of(2 ** 30, -(2 ** 31)).buffer);
    expect(await read({ bits: 32, data: wide })).toEqual([0.5, -1]);
    expect(await read({ tag: 3, bits: 32, data: new Uint8Array(Float32Array.of(0.25, -1.5).buffer) })).toEqual([
      0.25, -1.5,
    ]);
    expect(await read({ tag: 3, bits: 64, data: new Uint8Array(Float64Array.of(0.25, -1).buffer) })).toEqual([
      0.25, -1,
    ]);
  });

  test.each(["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw"])(
    "%s equals what ffmpeg decodes",
    async (codec) => {
      const path = await ffmpeg(
        `-f lavfi -i aevalsrc=0.5*sin(300*t)|0.3*cos(700*t):sample_rate=16000:duration=0.5 -c:a ${codec}`,
        at(`${codec}.wav`),
      );
      // The same stream in a container that goes through ffmpeg.
      const other = await ffmpeg(`-i ${path} -c:a copy`, at(`${codec}.${codec.includes("law") ? "mov" : "mkv"}`));
      const own = await readWav(path);
      const { samples } = joinAudio((await decoded(decode(other, { audio }))).audio);
      expect(own).toMatchObject({ sampleRate: 16000, channels: 2, durationSeconds: 0.5 });
      expect(samples).toHaveLength(8000);
      for (let i = 0; i < 8000; i++) expect(Math.abs(own.samples[i]! - samples[i]!)).toBeLessThan(1e-6);
      expect((await probe(path)).streams[0]).toMatchObject({ kind: "audio", codec, sampleRate: 16000, channels: 2 });
    },
  );

  test("extensible, odd chunks before the data, a mean of three channels", async () => {
    const format = Buffer.alloc(40);
    format.set(wav({ channels: 3 }).subarray(20, 36));
    format.writeUInt16LE(0xfffe, 0);
    format.writeUInt16LE(22, 16);
    format.writeUInt16LE(1, 24);
    const odd = Buffer.from("LIST\x05\0\0\0abcde\0", "latin1");
    const path = save("odd.wav", wav({ format, before: odd, data: int16(300, 600, 900, -300, 0, 0) }));
    const { samples, channels } = await readWav(path);
    expect(channels).toBe(3);
    expect([...samples].map((value) => value * 32768)).toEqual([600, -100].map((v) => expect.closeTo(v, 3)));
  });

  test("a compressed kind goes through ffmpeg", async () => {
    const path = await ffmpeg("-f lavfi -i sine=duration=1:sample_rate=16000 -c:a adpcm_ms", at("adpcm.wav"));
    await expectRejection(readWav(path), "MEDIA_UNSUPPORTED");
    expect((await probe(path)).streams[0]!.codec).toBe("adpcm_ms");
    expect((await decoded(decode(path, { audio }))).audio.length).toBeGreaterThan(8);
  });
});

describe("headers that lie", () => {
  const refuse = async (parts: WavParts, code: string) => {
    const path = save("lie.wav", wav(parts));
    await expectRejection(readWav(path), code);
    await expectRejection(decoded(decode(path, { audio })), code);
  };

  test("rates, channels, depths and block sizes that cannot be", async () => {
    for (const rate of [0, 1, 4_000_000_000]) await refuse({ rate }, "MEDIA_INVALID");
    await refuse({ channels: 0, blockAlign: 2 }, "MEDIA_INVALID");
    await refuse({ channels: 300 }, "MEDIA_TOO_MANY_CHANNELS");
    await refuse({ bits: 0, blockAlign: 2 }, "MEDIA_INVALID");
    await refuse({ bits: 17, blockAlign: 2 }, "MEDIA_INVALID");
    for (const blockAlign of [0, 1, 3, 65535]) await refuse({ blockAlign }, "MEDIA_INVALID");
    await refuse({ format: Buffer.alloc(4) }, "MEDIA_INVALID");
  });

  test("sizes", async () => {
    const data = int16(1, 2, 3, 4, 5);
    for (const dataSize of [0xffffffff, 0]) {
      const { samples } = await readWav(save("open.wav", wav({ data, dataSize, riffSize: 0xffffffff })));
      expect([...samples].map((value) => value * 32768)).toEqual([1, 2, 3, 4, 5]);
    }
    await refuse({ data, dataSize: 1000 }, "MEDIA_TRUNCATED");
    const partly = await collect(decode(save("cut.wav", wav({ data: Buffer.alloc(4000), dataSize: 9000 })), { audio }));
    expectCode(partly.error, "MEDIA_TRUNCATED");
    expect(joinAudio(partly.audio).samples).toHaveLength(2000);
    // A lone trailing byte is no sample.
    expect((await readWav(save("lone.wav", wav({ data: Buffer.alloc(11) })))).samples).toHaveLength(5);
    await refuse({ data: Buffer.alloc(0) }, "SOURCE_EMPTY");
  });

  test("cut in the header, data before its format, chunks without end", async () => {
    const whole = wav();
    for (const length of [12, 20, 30, 36, 40, 43]) {
      const error = await readWav(save("head.wav", whole.subarray(0, length))).catch((thrown: unknown) => thrown);
      expect((error as { code: string }).code).toMatch(/^MEDIA_(TRUNCATED|INVALID)$/);
    }
    const early = Buffer.concat([whole.subarray(0, 12), whole.subarray(36)]);
    await expectRejection(readWav(save("early.wav", early)), "MEDIA_INVALID");
    const empties = Buffer.concat(Array.from({ length: 5000 }, () => Buffer.from("junk\0\0\0\0", "latin1")));
    await expectRejection(
      readWav(save("chunks.wav", Buffer.concat([whole.subarray(0, 12), empties]))),
      "MEDIA_INVALID",
    );
  });

  test("samples that are not finite name their time", async () => {
    const values = new Float32Array(16000);
    values[8000] = Number.NaN;
    const path = save("nan.wav", wav({ tag: 3, bits: 32, data: new Uint8Array(values.buffer) }));
    const error = await expectRejection(readWav(path), "SAMPLES_NOT_FINITE");
    expect(error.message).toContain("0.5000 s");
  });

  test("longer than allowed", async () => {
    const path = save("long.wav", wav({ data: Buffer.alloc(64000) }));
    await expectRejection(readWav(path, { limits: { maxDurationSeconds: 1 } }), "MEDIA_TOO_LONG");
    await expectRejection(readWav(path, { limits: { maxResultBytes: 1000 } }), "RESULT_TOO_LARGE");
  });
});

describe("decode", () => {
  test("other rates are resampled to the length and pitch they had", async () => {
    for (const rate of [8000, 44100, 48000]) {
      const path = await ffmpeg(
        `-f lavfi -i sine=frequency=1000:sample_rate=${rate}:duration=2 -c:a pcm_s16le`,
        at(`${rate}.wav`),
      );
      const { start, samples } = joinAudio((await decoded(decode(path, { audio }))).audio);
      expect(start).toBe(0);
      expect(samples).toHaveLength(32000);
      // ffmpeg's sine has an amplitude of 1/8.
      for (let i = 1000; i < 31000; i++) {
        expect(Math.abs(samples[i]! - Math.sin((2 * Math.PI * 1000 * i) / 16000) / 8)).toBeLessThan(2e-3);
      }
    }
  });

  test("a range begins and ends at its samples", async () => {
    const ramp = Int16Array.from({ length: 32000 }, (_, i) => i);
    const path = save("ramp.wav", wav({ data: new Uint8Array(ramp.buffer) }));
    const { start, samples } = joinAudio((await decoded(decode(path, { audio, start: 0.5, end: 1.25 }))).audio);
    expect(start).toBe(0.5);
    expect(samples).toHaveLength(12000);
    expect(samples[0]! * 32768).toBe(8000);
    expect((await decoded(decode(path, { audio, start: 5 }))).parts).toEqual([]);
  });

  test("no video in it", async () => {
    const path = save("plain.wav", wav());
    expectCode((await collect(decode(path, { video: { sampling: "all" }, audio }))).error, "MEDIA_NO_VIDEO");
  });

  test("an hour-long file is read piece by piece", async () => {
    const path = save("hour.wav", wav({ data: Buffer.alloc(2 * 16000 * 60 * 20) }));
    const stream = decode(path, { audio });
    let most = 0;
    let parts = 0;
    for await (const part of stream) {
      parts += part.kind === "audio" ? part.samples.length : 0;
      most = Math.max(most, stream.bufferedBytes);
      if (part.start > 100) break;
    }
    expect(parts).toBeGreaterThan(100 * 16000);
    expect(most).toBeLessThan(2 ** 20);
  });
});
