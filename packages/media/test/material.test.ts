import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decode, probe, type VideoPart } from "../src/index.js";
import { decoded, ffmpeg, temporaryFolder } from "./helpers.js";

const at = temporaryFolder();
const audio = { audio: { sampleRate: 16000 } } as const;

const frames = async (path: string, video: object = {}): Promise<VideoPart[]> =>
  (await decoded(decode(path, { video: { sampling: "all", ...video } }))).video;
const pixel = ({ pixels, width }: VideoPart, x: number, y: number) => [
  ...pixels.subarray(3 * (y * width + x), 3 * (y * width + x) + 3),
];
const near = (values: readonly number[]) => values.map((v) => expect.toSatisfy((x: number) => Math.abs(x - v) <= 3));

describe("interlaced video", () => {
  /** 50 fields per second, light and dark in turns, woven to 25 frames. */
  const weave = (name: string) =>
    ffmpeg(
      "-f lavfi -i color=white:size=64x48:rate=50:duration=1,geq=lum='if(mod(N,2),40,210)':cb=128:cr=128,tinterlace=interleave_top,fieldorder=tff" +
        " -c:v libx264 -qp 0 -pix_fmt yuv420p -x264opts tff=1",
      at(name),
    );

  test("keeps both fields in a frame, each frame at the container's time", async () => {
    const clip = await frames(await weave("woven.mkv"));
    expect(clip).toHaveLength(25);
    for (const [i, frame] of clip.entries()) {
      expect(frame.start).toBeCloseTo(i / 25, 3);
      const rows = Array.from({ length: 48 }, (_, y) => pixel(frame, 30, y)[0]!);
      const [top, bottom] = [rows.filter((_, y) => y % 2 === 0), rows.filter((_, y) => y % 2 === 1)];
      // The rows of a field are one moment: all light, or all dark.
      for (const field of [top, bottom]) expect(Math.max(...field) - Math.min(...field)).toBeLessThan(4);
      expect(Math.abs(top[0]! - bottom[0]!)).toBeGreaterThan(150);
    }
  });

  test("scaled down, mixes the moments of its fields", async () => {
    const [frame] = await frames(await weave("woven-small.mkv"), { width: 16, height: 12 });
    const rows = Array.from({ length: 8 }, (_, y) => pixel(frame!, 8, y + 2)[0]!);
    for (const value of rows) expect(Math.abs(value - 127)).toBeLessThan(25);
  });
});

describe("luma and chroma to RGB", () => {
  const exact = "flags=bicubic+accurate_rnd+full_chroma_int,format=rgb24";

  test.each([
    ["yuv420p", "bt709", "tv"],
    ["yuv420p", "smpte170m", "pc"],
    ["yuv422p10le", "bt2020nc", "tv"],
    ["yuva444p", "bt709", "tv"],
    ["gray", "bt709", "pc"],
    ["bgr0", "rgb", "pc"],
  ])("%s of %s (%s) is what ffmpeg's exact conversion makes of it", async (format, matrix, range) => {
    const clip = await ffmpeg(
      `-f lavfi -i testsrc2=size=70x50:rate=5:duration=1,noise=alls=40:allf=t -c:v ffv1 -pix_fmt ${format} -colorspace ${matrix} -color_range ${range}`,
      at(`${format}-${matrix}.mkv`),
    );
    for (const [width, height] of [
      [70, 50],
      [33, 41],
    ]) {
      const raw = await ffmpeg(`-i ${clip} -vf scale=${width}:${height}:${exact} -f rawvideo`, at(`${format}.rgb`));
      const made = await frames(clip, { width, height, fit: "stretch" });
      expect(made).toHaveLength(5);
      expect(Buffer.concat(made.map(({ pixels }) => pixels)).equals(readFileSync(raw))).toBe(true);
    }
  });
});

describe("HDR and wide gamut", () => {
  /** Ten bits, BT.2020 matrix, with the transfer named and the code values those of `colour` as it stands. */
  const clip = (name: string, colour: string, transfer: string) =>
    ffmpeg(
      `-f lavfi -i color=${colour}:size=64x48:rate=5:duration=1,format=gbrp,scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10le` +
        ` -c:v libx265 -x265-params lossless=1:log-level=none:colorprim=bt2020:transfer=${transfer}:colormatrix=bt2020nc:range=limited` +
        ` -color_primaries bt2020 -color_trc ${transfer} -colorspace bt2020nc -color_range tv`,
      at(name),
    );

  test.each([
    ["smpte2084", "0xff0000", [255, 0, 0]],
    ["smpte2084", "0x00ff00", [0, 255, 0]],
    ["smpte2084", "0x808080", [128, 128, 128]],
    ["arib-std-b67", "0x2040c0", [32, 64, 192]],
    ["arib-std-b67", "0xc04020", [192, 64, 32]],
  ])("%s keeps its code values, by the matrix of its own: %s", async (transfer, colour, rgb) => {
    const made = await frames(await clip(`${transfer}-${colour}.mkv`, colour, transfer));
    expect(made).toHaveLength(5);
    for (const frame of made) expect(pixel(frame, 20, 20)).toEqual(near(rgb));
  });
});

test("a video's alpha plane is ignored: what lies under it is seen", async () => {
  const path = await ffmpeg(
    "-f lavfi -i color=0x30c060:size=64x48:rate=5:duration=1,format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(lt(X,32),0,255)' -c:v qtrle -pix_fmt argb",
    at("alpha.mov"),
  );
  const [frame] = await frames(path);
  expect(pixel(frame!, 5, 20)).toEqual(near([0x30, 0xc0, 0x60]));
  expect(pixel(frame!, 60, 20)).toEqual(near([0x30, 0xc0, 0x60]));
});

describe("sound", () => {
  test("keeps its loudness, and surround is the plain mean of its channels", async () => {
    const tone =
      "aevalsrc=0.01*sin(2*PI*1000*t)|0|0|0|0|0.02*sin(2*PI*1000*t):channel_layout=5.1:sample_rate=48000:duration=1";
    for (const [name, codec] of Object.entries({ "quiet.flac": "-sample_fmt s32", "quiet.wav": "-c:a pcm_f32le" })) {
      const path = await ffmpeg(`-f lavfi -i ${tone} ${codec}`, at(name));
      const parts = (await decoded(decode(path, audio))).audio;
      const samples = parts.flatMap((part) => [...part.samples]).slice(2000, 14000);
      const peak = Math.sqrt((2 * samples.reduce((sum, x) => sum + x * x, 0)) / samples.length);
      expect(Math.abs(peak - 0.03 / 6)).toBeLessThan(1e-5);
    }
  });

  test("of several tracks the default one is heard, or the one asked for", async () => {
    const tones = [400, 800, 1600].map((hertz) => `-f lavfi -i sine=frequency=${hertz}:duration=1`).join(" ");
    const path = await ffmpeg(
      `${tones} -map 0 -map 1 -map 2 -c:a flac -disposition:a:0 0 -disposition:a:1 default -disposition:a:2 0`,
      at("tracks.mkv"),
    );
    const hertz = async (stream?: number) => {
      const parts = (
        await decoded(decode(path, { audio: { sampleRate: 16000, ...(stream !== undefined && { stream }) } }))
      ).audio;
      const samples = parts.flatMap((part) => [...part.samples]);
      return samples.filter((x, i) => i > 0 && x >= 0 && samples[i - 1]! < 0).length / (samples.length / 16000);
    };
    expect((await probe(path)).streams).toHaveLength(3);
    expect(await hertz()).toBeCloseTo(800, -1);
    expect(await hertz(0)).toBeCloseTo(400, -1);
    expect(await hertz(2)).toBeCloseTo(1600, -1);
  });
});

test("letterbox and centre crop keep the shape", async () => {
  const path = await ffmpeg(
    "-f lavfi -i color=white:size=160x80:rate=5:duration=1,drawbox=x=0:y=0:w=40:h=80:color=blue:t=fill -c:v ffv1 -pix_fmt gbrp",
    at("wide.mkv"),
  );
  const [boxed] = await frames(path, { width: 64, height: 64, fit: "contain" });
  const column = Array.from({ length: 64 }, (_, y) => pixel(boxed!, 48, y)[0]!);
  expect(column.filter((v) => v > 128)).toHaveLength(32);
  expect(column[5]).toBeLessThan(4);
  const [cropped] = await frames(path, { width: 64, height: 64, fit: "cover" });
  // Of 128 columns the middle 64: the blue quarter is gone.
  expect(pixel(cropped!, 2, 32)).toEqual(near([255, 255, 255]));
});
