import { extname } from "node:path";
import {
  type Arguments,
  choiceOption,
  economyOption,
  exclusive,
  type FrameEconomy,
  help,
  invalid,
  numberOption,
  type OptionSpec,
  parseArguments,
  parseTime,
  timeOption,
} from "../arguments.js";
import { UsageFault } from "../fault.js";

const specs: Readonly<Record<string, OptionSpec>> = {
  model: { value: true },
  out: { value: true },
  page: { value: true },
  "no-page": {},
  resume: {},
  checkpoint: { value: true },
  pool: { value: true },
  text: { value: true, multiple: true },
  fps: { value: true },
  frames: { value: true },
  times: { value: true },
  "key-frames": {},
  economy: { value: true },
  budget: { value: true },
  speech: { value: true },
  "video-stream": { value: true },
  "audio-stream": { value: true },
  "no-video": {},
  "no-audio": {},
  start: { value: true },
  end: { value: true },
  duration: { value: true },
  offset: { value: true },
  device: { value: true },
  threads: { value: true },
  dtype: { value: true },
  "chunk-tokens": { value: true },
  "max-tokens": { value: true },
  seed: { value: true },
  quiet: {},
  json: {},
};

/** A command line of `krait encode`, checked. What was not given is left out, so that the SDK's defaults hold. */
export interface EncodePlan {
  /** Files and words in the order given. */
  inputs: ({ file: string } | { text: string })[];
  /** A folder, or the seed of random weights. */
  model: string | { seed: number };
  out: string;
  page: string | undefined;
  /** Go on with what an interrupted run left. */
  resume: boolean;
  /** Seconds between two states to go on from. */
  checkpointSeconds?: number;
  video: boolean;
  audio: boolean;
  /** For video sources. */
  sampling: { fps?: number; count?: number; times?: number[]; keyFrames?: true; economy?: FrameEconomy };
  /** The model of a VAD, for audio sources. */
  speech?: { model: string };
  /** Seconds, for media and subtitles. */
  range: { start?: number; end?: number; offset?: number };
  /** Which streams of media, by index. */
  streams: { video?: number; audio?: number };
  encoder: {
    device?: "auto" | "cpu" | "cuda";
    threads?: number;
    dtype?: "f32" | "bf16";
    chunkTokens?: number;
    maxTokens?: number;
  };
  /** Left out: every token. */
  pool?: "token" | "frame" | "class" | number;
  quiet: boolean;
  json: boolean;
}

/** Parses the words after `krait encode`. Throws `UsageFault`. */
export function parseEncode(argv: readonly string[]): EncodePlan {
  const args = parseArguments("encode", argv, specs);
  const plan = planOf(args, "encode");
  const out = path(args.options.get("out"), "out");
  if (out === undefined) {
    throw new UsageFault(
      "Expected --out for krait encode but received none",
      "OUT_MISSING",
      "Say where the features go: `--out features.safetensors`.",
    );
  }
  const page = args.options.has("no-page") ? undefined : (path(args.options.get("page"), "page") ?? pageBeside(out));
  const checkpointSeconds = numberOption(args, "checkpoint", { min: 0, max: 86_400 });
  return { ...plan, out, page, resume: args.options.has("resume"), ...defined({ checkpointSeconds }) };
}

/** What `krait estimate` takes: the command line of an encoding, of which nothing is written. */
export interface EstimatePlan extends Omit<EncodePlan, "out" | "page" | "resume" | "checkpointSeconds"> {
  compare: "attention" | undefined;
}

/** Parses the words after `krait estimate`. Throws `UsageFault`. */
export function parseEstimate(argv: readonly string[]): EstimatePlan {
  const args = parseArguments("estimate", argv, { ...specs, compare: { value: true } });
  return { ...planOf(args, "estimate"), compare: choiceOption(args, "compare", ["attention"]) };
}

function planOf(args: Arguments, command: string): Omit<EncodePlan, "out" | "page" | "resume" | "checkpointSeconds"> {
  const { options } = args;
  exclusive(args, "fps", "frames", "times", "key-frames");
  exclusive(args, "end", "duration");
  exclusive(args, "page", "no-page");
  exclusive(args, "model", "seed");
  exclusive(args, "no-video", "no-audio");
  const has = (name: string) => options.has(name);

  const inputs = args.ordered.flatMap((entry): EncodePlan["inputs"] => {
    if ("operand" in entry) return [{ file: entry.operand }];
    return entry.option === "text" && entry.value !== undefined ? [{ text: entry.value }] : [];
  });
  if (inputs.length === 0) {
    throw new UsageFault(
      `Expected at least one file for krait ${command} but received none`,
      "NO_SOURCES",
      `Name a file: \`krait ${command} talk.mp4${command === "encode" ? " --out talk.safetensors" : ""}\`.`,
    );
  }
  const speech = path(options.get("speech"), "speech");
  const start = timeOption(args, "start");
  const duration = timeOption(args, "duration");
  const end = duration === undefined ? timeOption(args, "end") : (start ?? 0) + duration;
  if (end !== undefined && end <= (start ?? 0)) {
    throw new UsageFault(
      `Expected a time after ${start ?? 0} s for --${duration === undefined ? "end" : "duration"} but received ${end} s`,
      "INVALID_OPTION",
      "The part goes from --start up to --end.",
    );
  }
  return {
    inputs,
    model: path(options.get("model"), "model") ?? {
      seed: numberOption(args, "seed", { integer: true, min: 0 }) ?? 0,
    },
    video: !has("no-video"),
    audio: !has("no-audio"),
    sampling: defined({
      fps: numberOption(args, "fps", { above: 0, max: 1000 }),
      count: numberOption(args, "frames", { integer: true, min: 1, max: 10_000_000 }),
      times: timesOption(args),
      keyFrames: has("key-frames") ? (true as const) : undefined,
      economy: economyOption(args),
    }),
    ...(speech !== undefined && { speech: { model: speech } }),
    range: defined({ start, end, offset: numberOption(args, "offset", { min: -1e8, max: 1e8 }) }),
    streams: defined({
      video: numberOption(args, "video-stream", { integer: true, min: 0 }),
      audio: numberOption(args, "audio-stream", { integer: true, min: 0 }),
    }),
    encoder: defined({
      device: choiceOption(args, "device", ["auto", "cpu", "cuda"]),
      threads: numberOption(args, "threads", { integer: true, min: 1, max: 1024 }),
      dtype: choiceOption(args, "dtype", ["f32", "bf16"]),
      chunkTokens: numberOption(args, "chunk-tokens", { integer: true, min: 1, max: 2 ** 20 }),
      maxTokens: numberOption(args, "max-tokens", { integer: true, min: 1, max: 2 ** 31 - 1 }),
    }),
    ...defined({ pool: poolOption(args) }),
    quiet: has("quiet"),
    json: has("json"),
  };
}

/** `12,1:30,01:02:03.5` */
function timesOption({ options }: Arguments): number[] | undefined {
  const given = options.get("times");
  if (given === undefined) return undefined;
  const times = given.split(",").map(parseTime);
  if (times.length > 2000) throw invalid("times", "at most 2000 times", `${times.length} of them`);
  return times.map((time) => {
    if (time === undefined) throw invalid("times", "seconds or HH:MM:SS, parted by commas", given.slice(0, 80));
    return time;
  });
}

/** `token`, `frame`, `class` or seconds. */
function poolOption(args: Arguments): "token" | "frame" | "class" | number | undefined {
  const given = args.options.get("pool");
  if (given === undefined || given === "token" || given === "frame" || given === "class") return given;
  if (Number.isNaN(Number.parseFloat(given))) throw invalid("pool", "token, frame, class or seconds", given);
  return numberOption(args, "pool", { min: 1e-3, max: 1e6 });
}

/** `talk.safetensors` or `talk.npy` → `talk.html`; a name of another kind keeps its ending. */
export function pageBeside(out: string): string {
  const ending = extname(out);
  return /^\.(safetensors|npy)$/i.test(ending) ? `${out.slice(0, -ending.length)}.html` : `${out}.html`;
}

function path(value: string | undefined, name: string): string | undefined {
  if (value !== "") return value;
  throw new UsageFault(`Expected a path for --${name} but received ""`, "INVALID_OPTION", help("encode"));
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the fields that are undefined. */
function defined<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Defined<T>;
}
