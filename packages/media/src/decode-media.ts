import { EnvironmentError, expected, InputError } from "@krait/core";
import { AudioTimeline } from "./audio-timeline.js";
import type { DecodePlan } from "./decode-options.js";
import { type FfmpegExit, isSpawnFailure, spawnFailure, startFfmpeg } from "./ffmpeg-process.js";
import { ffprobe } from "./ffprobe.js";
import { audioFilter, FrameWatch, videoFilter } from "./filters.js";
import {
  brokenClock,
  checkChannels,
  checkDuration,
  checkPixels,
  checkSampleRate,
  encryptedStream,
  limitRefusal,
  noStream,
  truncated,
  unknownCodec,
  unstreamable,
} from "./media-errors.js";

import type { MediaInfo, StreamInfo } from "./media-info.js";
import type { MediaPart } from "./media-part.js";
import type { StreamContext } from "./media-stream.js";
import { NutDemuxer, type NutPacket } from "./nut/demuxer.js";
import type { Source } from "./open-source.js";
import { PartOrder, slackSeconds } from "./part-order.js";
import { findProgram } from "./programs.js";
import { FrameSampler, type SamplingGrid, samplingGrid } from "./sampling.js";
import { inputGuards, inputUrl } from "./whitelists.js";

interface VideoJob {
  stream: StreamInfo;
  width: number;
  height: number;
  fit: "stretch" | "cover" | "contain";
  pixelFormat: string | undefined;
  grid: SamplingGrid | undefined;
  /** A frame's own duration, seconds; 0 where the container tells no rate. */
  frameSeconds: number;
}

interface Job {
  source: Source;
  info: MediaInfo;
  plan: DecodePlan;
  video: VideoJob | undefined;
  audio: { stream: StreamInfo; sampleRate: number } | undefined;
}

/** Bytes of raw frames that ffmpeg may hold back to bring audio and video into order. */
const interleaveBytes = 64 * 2 ** 20;
const maxAudioPacket = 16 * 2 ** 20;

/** Decodes through one ffmpeg process whose output is a NUT stream: the times travel with the bytes they belong to. */
export async function* decodeMedia(
  source: Source,
  plan: DecodePlan,
  context: StreamContext,
): AsyncGenerator<MediaPart, void, undefined> {
  const info = await ffprobe(source, plan.limits, context.signal);
  const job = planJob(source, info, plan);
  const program = await findProgram("ffmpeg");
  context.throwIfClosed();
  const { limits } = plan;
  const watch = new FrameWatch();
  const { hear } = watch;
  const stdin = source.pipe?.read();
  const process = startFfmpeg({ program, ...ffmpegArguments(job), stdin, stallSeconds: limits.stallSeconds, hear });
  const onClose = () => void process.kill();
  context.signal.addEventListener("abort", onClose, { once: true });
  const frameBytes = job.video === undefined ? 0 : job.video.width * job.video.height * 3;
  const demuxer = new NutDemuxer(process.read, Math.max(frameBytes, maxAudioPacket));
  const { sampleRate = 1, stream: audioStream } = job.audio ?? {};
  const timeline = new AudioTimeline(sampleRate, source.path, limits.maxDurationSeconds, audioStream?.startSeconds);
  const order = new PartOrder(job.video?.frameSeconds ?? 0, () => timeline.pendingStart);
  context.measure(() => process.buffered + demuxer.buffered + order.buffered + timeline.buffered);
  const sampler = new FrameSampler(job.video?.grid);
  const reached = { video: Number.NEGATIVE_INFINITY, audio: Number.NEGATIVE_INFINITY };
  try {
    let broken: unknown;
    try {
      for await (const packet of demuxer.packets()) {
        context.throwIfClosed();
        checkDuration(packet.time - plan.start, source.path, limits);
        reached[packet.stream.kind] = packet.time;
        yield* accept(packet, job, { order, timeline, sampler });
        if (sampler.done && job.audio === undefined) {
          // What follows would be decoded for nothing.
          yield* order.flush();
          return;
        }
      }
    } catch (error) {
      context.throwIfClosed();
      // A pipe cut in mid-frame is the echo of a decoder that died; its own words say more.
      if (!(error instanceof EnvironmentError && error.code === "DECODER_OUTPUT_CUT")) throw error;
      broken = error;
    }
    context.throwIfClosed();
    for (const part of timeline.flush()) yield* order.audio(part);
    yield* order.flush();
    const exit = await process.exit;
    context.throwIfClosed();
    checkEnd(job, exit, broken, reached, program);
    checkFrames(job, watch, reached.video);
  } finally {
    context.signal.removeEventListener("abort", onClose);
    await process.kill();
    source.pipe?.close();
  }
}

function* accept(
  packet: NutPacket,
  job: Job,
  { order, timeline, sampler }: { order: PartOrder; timeline: AudioTimeline; sampler: FrameSampler },
): Generator<MediaPart, void, undefined> {
  const { stream, time, data } = packet;
  if (stream.kind === "video" && job.video !== undefined) {
    const { width, height } = job.video;
    if (data.length !== width * height * 3) {
      throw new EnvironmentError(expected(`${width * height * 3} bytes`, "a frame from ffmpeg", data.length), {
        code: "DECODER_OUTPUT_INVALID",
        hint: "Check that `ffmpeg -version` names a release from 5.1 on.",
      });
    }
    if (sampler.keeps(time)) {
      // The audio stands still, so what it has begun is complete.
      if (time - timeline.end > slackSeconds) for (const part of timeline.flush()) yield* order.audio(part);
      yield* order.video({ kind: "video", pixels: data, width, height, start: time, end: time });
    }
  } else if (stream.kind === "audio" && job.audio !== undefined) {
    const samples = new Float32Array(data.buffer, 0, Math.floor(data.length / 4));
    for (const part of timeline.push(time, samples)) yield* order.audio(part);
  }
}

function planJob(source: Source, info: MediaInfo, plan: DecodePlan): Job {
  const { limits, start, end } = plan;
  const wholeEnd = info.durationSeconds ?? 0;
  checkDuration(Math.min(end, wholeEnd) - start, source.path, limits);
  const job: Job = { source, info, plan, video: undefined, audio: undefined };
  if (plan.video !== undefined) {
    const stream = pickStream(info, "video", plan.video.stream);
    const { width = 0, height = 0 } = stream;
    if (width === 0 || height === 0) throw noStream(source.path, "video", `a ${stream.codec} stream without a size`);
    checkPixels(width, height, source.path, limits);
    const turned = stream.rotation === 90 || stream.rotation === 270;
    const target = {
      width: plan.video.width ?? (turned ? height : width),
      height: plan.video.height ?? (turned ? width : height),
    };
    checkPixels(target.width, target.height, "video.width and video.height", limits);
    job.video = {
      stream,
      ...target,
      fit: plan.video.width === undefined ? "stretch" : plan.video.fit,
      pixelFormat: stream.pixelFormat,
      grid: samplingGrid(plan.video.sampling, stream, info.durationSeconds, start, end),
      frameSeconds: stream.averageFps === undefined ? 0 : 1 / stream.averageFps,
    };
  }
  if (plan.audio !== undefined) {
    const stream = pickStream(info, "audio", plan.audio.stream);
    checkChannels(stream.channels ?? 0, source.path, limits);
    checkSampleRate(stream.sampleRate ?? 0, source.path);
    job.audio = { stream, sampleRate: plan.audio.sampleRate };
  }
  return job;
}

function pickStream(info: MediaInfo, kind: "video" | "audio", index: number | undefined): StreamInfo {
  const fitting = info.streams.filter((stream) => stream.kind === kind);
  const found =
    index === undefined
      ? (fitting.find((stream) => stream.isDefault) ?? fitting[0])
      : fitting.find((stream) => stream.index === index);
  if (found?.encrypted) throw encryptedStream(info.path, kind, found.index);
  if (found?.codec === "unknown") throw unknownCodec(info.path, `${kind} in one that it does not know`);
  if (found !== undefined) return found;
  const kinds = info.streams.map((stream) => `${stream.index}: ${stream.kind}`).join(", ");
  throw noStream(info.path, kind, `streams ${kinds}`);
}

function ffmpegArguments(job: Job): { input: string; inputOptions: string[]; outputOptions: string[] } {
  const { plan, video, audio } = job;
  const threads = plan.threads === undefined ? [] : ["-threads", String(plan.threads)];
  const offset = job.info.clockOffsetSeconds ?? 0;
  const from = seekTime(job);
  const inputOptions = [
    "-nostdin",
    "-hide_banner",
    ...["-loglevel", "error", "-nostats", "-progress", "pipe:2"],
    ...inputGuards(plan.limits),
    ...threads,
    ...(plan.video?.sampling === "key" ? ["-skip_frame:v", "nokey"] : []),
    // The filters trim exactly; the seek only has to land before.
    ...(from > 0 ? ["-noaccurate_seek", "-seek_timestamp", "1", "-ss", (from - offset).toFixed(6)] : []),
    ...(offset === 0 ? [] : ["-itsoffset", offset.toFixed(9)]),
    "-copyts",
  ];
  const outputOptions = ["-avoid_negative_ts", "disabled"];
  if (video !== undefined) {
    const rate = video.grid === undefined ? (video.stream.averageFps ?? 25) : 1 / video.grid.step;
    const span = interleaveBytes / (video.width * video.height * 3 * rate);
    outputOptions.push(
      ...["-map", `0:${video.stream.index}`, "-filter:v", videoFilter(video, plan.start, plan.end)],
      // One encoder thread: more would hold a frame each, and so put video behind audio.
      ...["-c:v", "rawvideo", "-threads:v", "1", "-vsync", "passthrough", "-enc_time_base", "-1"],
      ...["-max_interleave_delta", String(Math.round(Math.min(10, Math.max(0.25, span)) * 1e6))],
      ...["-muxing_queue_data_threshold", String(4 * interleaveBytes)],
    );
  }
  if (audio !== undefined) {
    const filter = audioFilter(audio.stream, audio.sampleRate, plan.start, plan.end);
    outputOptions.push("-map", `0:${audio.stream.index}`, "-filter:a", filter, "-c:a", "pcm_f32le");
  }
  outputOptions.push("-map_metadata", "-1", "-map_chapters", "-1", "-f", "nut");
  return { input: inputUrl(job.source), inputOptions, outputOptions };
}

/** Transport and program streams seek by bytes and may land between key frames: start well before. Seconds. */
function seekTime({ source, info, plan, video, audio }: Job): number {
  if (source.pipe) return 0;
  const margin = /mpeg/.test(info.container) ? 15 : 1;
  // For a list of times nothing before the first of them is needed.
  const first = audio === undefined && video?.grid !== undefined && video.grid.cells > 0 ? video.grid.from : 0;
  const from = Math.max(plan.start, Math.min(first, plan.end));
  return Math.max(0, from - margin);
}

const damage = /partial file|truncat|prematurely|end of file|invalid data|error/i;

/** Tells a clean end from one that only looks like it. */
function checkEnd(
  job: Job,
  exit: FfmpegExit,
  broken: unknown,
  reached: { video: number; audio: number },
  program: string,
): void {
  const { source, plan } = job;
  const tail = exit.messages.slice(-4).join("; ");
  const nothing = reached.video === Number.NEGATIVE_INFINITY && reached.audio === Number.NEGATIVE_INFINITY;
  if (exit.error !== undefined) {
    if (/too many packets buffered/i.test(tail)) {
      throw new InputError(`Expected audio and video side by side for ${source.path} but received them far apart`, {
        code: "MEDIA_INTERLEAVING",
        hint: "Ask for smaller or fewer frames, or decode video and audio in two calls.",
      });
    }
    const codec = /Decoder \(codec (\w+)\) not found/.exec(tail)?.[1];
    if (codec !== undefined) throw unknownCodec(source.path, codec);
    if (isSpawnFailure(exit.error)) throw spawnFailure(program, exit.error);
    if (nothing && source.pipe && source.format === "mp4") throw unstreamable(source.path, tail);
    throw new InputError(`Expected decodable media for ${source.path} but received ${tail || exit.error.message}`, {
      code: /partial file|truncat|prematurely/i.test(tail) ? "MEDIA_TRUNCATED" : "MEDIA_INVALID",
      hint: nothing
        ? "Play the file to check it; if it plays, convert it with `ffmpeg -i INPUT output.mkv`."
        : "All that could be decoded was delivered first.",
      cause: exit.error,
    });
  }
  if (broken !== undefined) throw broken;
  const refused = limitRefusal(source.path, exit.messages.join("; "), plan.limits);
  if (refused !== undefined) throw refused;
  if (nothing && !plan.ranged) {
    throw new InputError(
      `Expected at least one frame or sample for ${source.path} but received none${tail ? `: ${tail}` : ""}`,
      {
        code: "MEDIA_INVALID",
        hint: "The streams are declared but nothing in them decodes; the file is damaged or encrypted.",
      },
    );
  }
  if (damage.test(tail)) checkShortfall(job, reached, tail);
}

/** What only the decoder saw: a clock that starts again, and pictures that nothing stands behind. */
function checkFrames({ source, plan, video }: Job, watch: FrameWatch, reached: number): void {
  if (watch.jumpedTo !== undefined) {
    throw brokenClock(source.path, `video whose clock jumps back to ${watch.jumpedTo.toFixed(3)} s`);
  }
  if (video === undefined || watch.keyFrame || plan.ranged || reached === Number.NEGATIVE_INFINITY) return;
  throw new InputError(`Expected a key frame for ${source.path} but received none`, {
    code: "MEDIA_INVALID",
    hint: "Every picture was guessed from ones that are missing: copy or record the file from its beginning.",
  });
}

/** ffmpeg ends a file cut in its middle with success; its messages and the declared duration give it away. */
function checkShortfall(
  { source, plan, video, audio, info }: Job,
  reached: { video: number; audio: number },
  tail: string,
): void {
  for (const [kind, job, step] of [
    ["video", video, video?.grid?.step ?? 0],
    ["audio", audio, 0],
  ] as const) {
    if (job === undefined) continue;
    const duration = job.stream.durationSeconds ?? info.durationSeconds;
    if (duration === undefined) continue;
    const due = Math.min(plan.end, job.stream.startSeconds + duration);
    const last = Math.max(reached[kind], plan.start);
    if (last + step + 1 < due) {
      throw truncated(source.path, `${kind} that ends at ${last.toFixed(2)} s of ${due.toFixed(2)} s: ${tail}`);
    }
  }
}
