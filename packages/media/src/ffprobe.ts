import { type ChildProcess, spawn } from "node:child_process";
import { AbortedError, InputError, type Limits } from "@krait/core";
import { z } from "zod";
import type { BytePipe } from "./byte-pipe.js";
import { encryptedTracks } from "./encryption.js";
import { spawnFailure } from "./ffmpeg-process.js";
import { limitRefusal, unstreamable } from "./media-errors.js";
import type { MediaInfo, StreamInfo } from "./media-info.js";
import { playlist, type Source, unreadable } from "./open-source.js";
import { findProgram } from "./programs.js";
import { sniffBytes } from "./sniff.js";
import { inputGuards, inputUrl } from "./whitelists.js";

const maxOutputBytes = 8 * 2 ** 20;
const entries = [
  "format=format_name,start_time,duration,probe_score",
  "stream=index,codec_type,codec_name,start_time,duration,width,height,pix_fmt,avg_frame_rate,r_frame_rate,nb_frames,sample_rate,channels,channel_layout",
  "stream_disposition=attached_pic,default",
  "stream_tags=rotate,DURATION,enc_key_id",
  "stream_side_data=rotation",
].join(":");

/** Below this ffprobe only guesses; random bytes often pass for an mp3 or a raw stream. AVPROBE_SCORE_RETRY. */
const leastProbeScore = 25;

const text = z.union([z.string(), z.number()]).optional();
const outputSchema = z.object({
  format: z.object({ format_name: z.string(), start_time: text, duration: text, probe_score: z.number().optional() }),
  streams: z
    .array(
      z.object({
        index: z.number().int(),
        codec_type: z.string().optional(),
        codec_name: z.string().optional(),
        start_time: text,
        duration: text,
        width: z.number().optional(),
        height: z.number().optional(),
        pix_fmt: z.string().optional(),
        avg_frame_rate: z.string().optional(),
        r_frame_rate: z.string().optional(),
        nb_frames: text,
        sample_rate: text,
        channels: z.number().optional(),
        channel_layout: z.string().optional(),
        disposition: z.object({ attached_pic: z.number().optional(), default: z.number().optional() }).optional(),
        tags: z.object({ rotate: text, DURATION: text, enc_key_id: text }).optional(),
        side_data_list: z.array(z.object({ rotation: text })).optional(),
      }),
    )
    .default([]),
});
type Stream = z.output<typeof outputSchema>["streams"][number];

/** What a pipe turned out to hold: its beginning need not be asked about twice. */
const known = new WeakMap<BytePipe, MediaInfo>();

/** Asks ffprobe about a checked source, under the whitelists that decoding has. */
export async function ffprobe(source: Source, limits: Limits, signal: AbortSignal | undefined): Promise<MediaInfo> {
  const { pipe } = source;
  const info = (pipe && known.get(pipe)) ?? (await ask(source, limits, signal));
  if (pipe) known.set(pipe, info);
  return info;
}

async function ask(source: Source, limits: Limits, signal: AbortSignal | undefined): Promise<MediaInfo> {
  const program = await findProgram("ffprobe");
  if (source.pipe) await refuseText(source, limits, signal);
  const args = ["-v", "error", ...inputGuards(limits), "-show_entries", entries, "-of", "json", inputUrl(source)];
  const { stdout, messages } = await runFfprobe(program, args, source, limits, signal);
  let output: z.output<typeof outputSchema>;
  try {
    output = outputSchema.parse(JSON.parse(stdout));
  } catch (cause) {
    throw invalid(source, "a description that ffprobe garbled", cause);
  }
  const { format } = output;
  if ((format.probe_score ?? 100) < leastProbeScore) throw invalid(source, "bytes of no known container");
  if (output.streams.length === 0) throw invalid(source, `a ${format.format_name} file without streams`);
  const streams = output.streams.map(toStream);
  if (streams.some(({ kind, width }) => kind === "video" && width === undefined)) {
    const refused = limitRefusal(source.path, messages, limits);
    if (refused !== undefined) throw refused;
  }
  // Of a stream the boxes cannot be read again.
  if (!source.pipe) await markEncrypted(source, streams);
  const clockOffset = transportClockOffset(format.format_name, streams);
  for (const stream of streams) stream.startSeconds += clockOffset;
  const ends = streams.map((s) => (s.durationSeconds === undefined ? 0 : s.startSeconds + s.durationSeconds));
  const duration = positive(format.duration) ?? positive(Math.max(...ends));
  return {
    path: source.path,
    container: format.format_name,
    ...(duration === undefined ? {} : { durationSeconds: duration }),
    ...(clockOffset === 0 ? {} : { clockOffsetSeconds: clockOffset }),
    bytes: source.bytes,
    streams,
  };
}

/** 2^33 ticks of 90 kHz: where the clock of a transport stream wraps. Seconds. */
const transportWrap = 2 ** 33 / 90_000;

/** Its timestamps have no sign: a start below zero is one that the demuxer took back over the wrap. */
function transportClockOffset(container: string, streams: StreamInfo[]): number {
  return container === "mpegts" && streams.some((stream) => stream.startSeconds < 0) ? transportWrap : 0;
}

async function markEncrypted(source: Source, streams: StreamInfo[]): Promise<void> {
  if (source.format !== "mp4") return;
  const tracks = await encryptedTracks(source.path).catch((cause: NodeJS.ErrnoException) => {
    throw unreadable(source.path, cause);
  });
  for (const stream of streams) if (tracks[stream.index]) stream.encrypted = true;
}

function runFfprobe(
  program: string,
  args: string[],
  source: Source,
  limits: Limits,
  signal: AbortSignal | undefined,
): Promise<{ stdout: string; messages: string }> {
  return new Promise((resolve, reject) => {
    const { pipe } = source;
    const child = spawn(program, args, { stdio: [pipe ? "pipe" : "ignore", "pipe", "pipe"], windowsHide: true });
    const chunks: Buffer[] = [];
    let size = 0;
    let messages = "";
    let failure: Error | undefined;
    const fail = (error: Error) => {
      failure ??= error;
      child.kill("SIGKILL");
      child.stdout?.destroy();
      child.stderr?.destroy();
    };
    const onAbort = () => fail(new AbortedError("probing", signal?.reason));
    const timer = setTimeout(() => {
      fail(
        new InputError(`Expected a description of ${source.path} but received none in ${limits.stallSeconds} s`, {
          code: "MEDIA_STALLED",
          hint: "Check the disk or network share the file is on, or raise limits.stallSeconds.",
        }),
      );
    }, limits.stallSeconds * 1000);
    child.stdout!.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxOutputBytes) fail(invalid(source, `a description of over ${maxOutputBytes} bytes`));
      else chunks.push(chunk);
    });
    child.stderr!.on("data", (chunk: Buffer) => {
      messages = (messages + chunk.toString("utf8")).slice(-2000);
    });
    child.on("error", (cause) => {
      failure ??= spawnFailure(program, cause);
      done();
    });
    child.on("close", (code) => {
      if (code === 126 || code === 127)
        failure ??= spawnFailure(program, new Error(messages.trim() || `exit code ${code}`));
      else if (code !== 0) failure ??= refusal(source, limits, messages);
      done();
    });
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      if (failure) reject(failure);
      else resolve({ stdout: Buffer.concat(chunks).toString("utf8"), messages });
    };
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    if (pipe) feed(child, pipe, source, limits, signal).catch(fail);
  });
}

/** Bytes of a stream that are looked at, and so held, to find out what it is. */
const maxLookBytes = 32 * 2 ** 20;

/** Gives ffprobe the beginning of a stream, chunk by chunk as it asks, and keeps it for the decoder. */
async function feed(
  child: ChildProcess,
  pipe: BytePipe,
  source: Source,
  limits: Limits,
  signal: AbortSignal | undefined,
): Promise<void> {
  const stdin = child.stdin!;
  let open = true;
  const gone = new Promise<void>((resolve) => {
    const onGone = () => {
      open = false;
      resolve();
    };
    stdin.on("error", onGone);
    child.once("exit", onGone);
  });
  let sent = 0;
  const give = async (chunk: Uint8Array) => {
    sent += chunk.length;
    if (sent > maxLookBytes) {
      throw unstreamable(source.path, `${sent} bytes without`);
    }
    if (!stdin.write(chunk)) await Promise.race([new Promise((resolve) => stdin.once("drain", resolve)), gone]);
  };
  for (const chunk of [...pipe.looked]) if (open) await give(chunk);
  while (open) {
    const chunk = await Promise.race([pipe.more(limits, signal), gone]);
    if (!chunk) break;
    await give(chunk);
  }
  stdin.end();
}

/** ffprobe would wait for megabytes of a text before it says that it is no media. */
async function refuseText(source: Source, limits: Limits, signal: AbortSignal | undefined): Promise<void> {
  const head = await source.pipe!.peek(sniffBytes, limits, signal);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what tells media from text
  if (/[\u0000-\u0008\u000e-\u001a\u001c-\u001f]/.test(Buffer.from(head).toString("latin1"))) return;
  throw invalid(source, "text");
}

/** Turns ffprobe's last words into the error they mean. */
function refusal(source: Source, limits: Limits, messages: string): InputError {
  const tail = messages.trim().split("\n").slice(-4).join("; ");
  if (source.pipe && source.format === "mp4" && /moov atom not found|end of file|invalid data/i.test(tail))
    return unstreamable(source.path, tail);
  // Random bytes named .mp4 lack the index too; only a file that begins as one was cut.
  if (source.format !== "" && /moov atom not found|EBML header|ended prematurely|end of file/i.test(tail)) {
    return new InputError(`Expected a whole media file for ${source.path} but received a truncated one: ${tail}`, {
      code: "MEDIA_TRUNCATED",
      hint: "The index is missing, so nothing can be decoded: copy or record the file again.",
    });
  }
  if (/not on whitelist|not allowed/i.test(tail)) {
    if (/\[(hls|applehttp|dash|concat|imf|sdp|rtsp)\b/i.test(tail)) return playlist(source.path, "by its content");
    return new InputError(`Expected a known media container for ${source.path} but received ${tail}`, {
      code: "MEDIA_UNSUPPORTED",
      hint: "Convert it first, for example with `ffmpeg -i INPUT output.mkv`.",
    });
  }
  return limitRefusal(source.path, messages, limits) ?? invalid(source, tail || "data that ffprobe refuses");
}

function invalid(source: Source, received: string, cause?: unknown): InputError {
  return new InputError(`Expected a media file for ${source.path} but received ${received}`, {
    code: "MEDIA_INVALID",
    hint: "Play the file to check it; if it plays, convert it with `ffmpeg -i INPUT output.mkv`.",
    cause,
  });
}

function toStream(stream: Stream): StreamInfo {
  const attached = stream.disposition?.attached_pic === 1;
  const kind = attached
    ? "image"
    : stream.codec_type === "video" || stream.codec_type === "audio" || stream.codec_type === "subtitle"
      ? stream.codec_type
      : "data";
  const info: StreamInfo = {
    index: stream.index,
    kind,
    codec: stream.codec_name ?? "unknown",
    startSeconds: finite(stream.start_time) ?? 0,
  };
  const set = <K extends keyof StreamInfo>(key: K, value: StreamInfo[K] | undefined) => {
    if (value !== undefined) info[key] = value;
  };
  set("durationSeconds", positive(stream.duration) ?? clock(stream.tags?.DURATION));
  set("width", positive(stream.width));
  set("height", positive(stream.height));
  set("pixelFormat", stream.pix_fmt);
  if (kind === "video") {
    set("averageFps", ratio(stream.avg_frame_rate) ?? ratio(stream.r_frame_rate));
    set("frames", positive(stream.nb_frames));
    const turn = rotation(stream);
    if (turn !== 0) info.rotation = turn;
  }
  set("sampleRate", positive(stream.sample_rate));
  set("channels", positive(stream.channels));
  if (stream.channel_layout && stream.channel_layout !== "unknown") info.channelLayout = stream.channel_layout;
  if (attached) info.attachedPicture = true;
  if (stream.disposition?.default === 1) info.isDefault = true;
  // Matroska's; an mp4 says it in its sample entries.
  if (stream.tags?.enc_key_id !== undefined) info.encrypted = true;
  return info;
}

/** The display matrix counts counter-clockwise, the old `rotate` tag clockwise. */
function rotation(stream: Stream): number {
  const matrix = finite(stream.side_data_list?.find((data) => data.rotation !== undefined)?.rotation);
  const clockwise = matrix !== undefined ? -matrix : (finite(stream.tags?.rotate) ?? 0);
  return (((Math.round(clockwise / 90) * 90) % 360) + 360) % 360;
}

function finite(value: string | number | undefined): number | undefined {
  if (value === undefined || value === "") return undefined;
  const number = Number(value);
  return Number.isFinite(number) ? number : undefined;
}

function positive(value: string | number | undefined): number | undefined {
  const number = finite(value);
  return number !== undefined && number > 0 ? number : undefined;
}

function ratio(value: string | undefined): number | undefined {
  const [num, den] = (value ?? "").split("/").map(Number);
  return positive((num ?? 0) / (den ?? 0));
}

/** Matroska keeps a stream's duration as a tag, `00:01:02.500000000`. */
function clock(value: string | number | undefined): number | undefined {
  const match = /^(\d+):(\d+):(\d+(?:\.\d+)?)$/.exec(String(value ?? ""));
  return match ? positive(Number(match[1]) * 3600 + Number(match[2]) * 60 + Number(match[3])) : undefined;
}
