import { maxOverlapSeconds } from "./audio-timeline.js";
import type { StreamInfo } from "./media-info.js";
import { type SamplingGrid, selectExpression, timeTolerance } from "./sampling.js";

export type Fit = "stretch" | "cover" | "contain";

export interface VideoTarget {
  width: number;
  height: number;
  fit: Fit;
  /** ffmpeg's name, as stored. */
  pixelFormat: string | undefined;
  grid: SamplingGrid | undefined;
}

/** watch → trim → select → scale → rgb24: frames that are not kept cost their decoding and nothing more. */
export function videoFilter(
  { width, height, fit, pixelFormat, grid }: VideoTarget,
  start: number,
  end: number,
): string {
  const gridEnd = grid?.until ?? Number.POSITIVE_INFINITY;
  return [
    `select='${watchExpression}'`,
    trim("trim", start === 0 ? 0 : start - timeTolerance, Math.min(end - timeTolerance, gridEnd)),
    `select='${selectExpression(grid)}'`,
    ...scale(width, height, fit, toRgb(pixelFormat)),
    "setsar=1",
  ].join(",");
}

/**
 * Keeps every frame, and says on standard error (level 16: an error) when the first key frame has come, `-1`, and when the
 * clock has jumped back by more than repeated pieces explain, with the time it jumped to. Frames that do not advance are dropped
 * behind, where nobody could tell any more.
 */
const watchExpression = [
  "if(key*not(ld(0)),st(0,1)*print(-1,16))",
  "st(1,ld(1)+if(lt(t,prev_t-0.5),prev_t-t))",
  `if(gt(ld(1),${maxOverlapSeconds})*not(ld(2)),st(2,1)*print(t,16))`,
  "1",
].join(";");

/** What `watchExpression` has said, line by line. */
export class FrameWatch {
  keyFrame = false;
  jumpedTo: number | undefined;

  /** True where the line was one of the watch's. */
  readonly hear = (line: string): boolean => {
    const said = /^(?:\[Eval @ \w+\] )?(-?\d+\.\d+)$/.exec(line.trim());
    if (said === null) return false;
    const value = Number(said[1]);
    if (value === -1) this.keyFrame = true;
    else this.jumpedTo = value;
    return true;
  };
}

/**
 * swscale's exact conversion to packed RGB is scalar; to planes it is vectorised, and packing these is a copy: the same bytes in half the
 * time. Only from luma and chroma: palettes and packed RGB have conversions of their own, which planes would lead around.
 */
function toRgb(pixelFormat: string | undefined): string {
  return /^(yuv|nv\d|p\d)/.test(pixelFormat ?? "") ? "format=gbrp,format=rgb24" : "format=rgb24";
}

/** `dar` is the shape the picture is meant to be shown in, pixel aspect included. */
function scale(width: number, height: number, fit: Fit, rgb: string): string[] {
  const flags = "flags=bicubic+accurate_rnd+full_chroma_int";
  if (fit === "stretch") return [`scale=w=${width}:h=${height}:${flags}`, rgb];
  const bound = fit === "cover" ? "max" : "min";
  const w = `${bound}(${width},max(1,round(${height}*dar)))`;
  const h = `${bound}(${height},max(1,round(${width}/dar)))`;
  const shape = fit === "cover" ? `crop=${width}:${height}` : `pad=${width}:${height}:(ow-iw)/2:(oh-ih)/2:color=black`;
  return [`scale=w='${w}':h='${h}':${flags}`, rgb, shape];
}

/**
 * Mean of all channels, then 16 kHz. The layout of the first packets is kept when a broadcast changes it mid-way.
 * Gaps are left as they are here: filling them with silence is bounded on our side of the pipe.
 */
export function audioFilter(stream: StreamInfo, sampleRate: number, start: number, end: number): string {
  const channels = stream.channels ?? 1;
  const layout = stream.channelLayout === undefined ? "" : `:channel_layouts=${stream.channelLayout}`;
  const mean = Array.from({ length: channels }, (_, i) => `${1 / channels}*c${i}`).join("+");
  return [
    `aformat=sample_fmts=fltp${layout}`,
    `pan=mono|c0=${mean}`,
    `aresample=${sampleRate}`,
    "aformat=sample_fmts=flt",
    trim("atrim", start, end),
  ].join(",");
}

/** Always there: NUT cannot carry a negative time, and a frame before zero is outside the container's timeline. */
function trim(name: string, start: number, end: number): string {
  const bounds = [`start=${start.toFixed(6)}`];
  if (Number.isFinite(end)) bounds.push(`end=${Math.max(start, end).toFixed(6)}`);
  return `${name}=${bounds.join(":")}`;
}
