import { InputError, type Limits } from "@krait/core";

export function noStream(path: string, kind: "video" | "audio", found: string): InputError {
  return new InputError(
    `Expected ${kind === "audio" ? "an audio" : "a video"} stream for ${path} but received ${found}`,
    {
      code: kind === "video" ? "MEDIA_NO_VIDEO" : "MEDIA_NO_AUDIO",
      hint: `Run probe() to see what the file holds, and leave ${kind} out of the options.`,
    },
  );
}

export function encryptedStream(path: string, kind: "video" | "audio", index: number): InputError {
  return new InputError(`Expected ${kind} that is not encrypted for ${path} but received stream ${index}, which is`, {
    code: "MEDIA_ENCRYPTED",
    hint: "Decrypt the file first; no keys are taken here.",
  });
}

export function unknownCodec(path: string, received: string): InputError {
  return new InputError(`Expected a codec that this ffmpeg decodes for ${path} but received ${received}`, {
    code: "MEDIA_UNSUPPORTED",
    hint: "Convert the file where its codec is known, or install an ffmpeg that knows it.",
  });
}

/** Times that fall back, by more than jitter and repeated pieces explain. */
export function brokenClock(path: string, received: string): InputError {
  return new InputError(`Expected times that advance for ${path} but received ${received}`, {
    code: "MEDIA_TIMES_INVALID",
    hint: "Repair the clock by remuxing: `ffmpeg -i INPUT -c copy output.mkv`.",
  });
}

export function checkPixels(width: number, height: number, name: string, limits: Limits): void {
  if (width * height <= limits.maxPixels) return;
  throw new InputError(`Expected at most ${limits.maxPixels} pixels for ${name} but received ${width}x${height}`, {
    code: "MEDIA_TOO_LARGE",
    hint: "Raise limits.maxPixels if the file is trusted.",
  });
}

export function checkDuration(seconds: number, path: string, limits: Limits): void {
  if (seconds <= limits.maxDurationSeconds) return;
  throw new InputError(`Expected at most ${limits.maxDurationSeconds} s for ${path} but received ${seconds} s`, {
    code: "MEDIA_TOO_LONG",
    hint: "Decode a part of it with start and end, or raise limits.maxDurationSeconds.",
  });
}

/** Hertz. Outside of these a header lies: a second of sound would become hours, or the reverse. */
export const sampleRates = { least: 100, most: 768_000 };

export function checkSampleRate(hertz: number, path: string): void {
  if (hertz >= sampleRates.least && hertz <= sampleRates.most) return;
  const { least, most } = sampleRates;
  throw new InputError(`Expected a sample rate of ${least} to ${most} Hz for ${path} but received ${hertz} Hz`, {
    code: "MEDIA_INVALID",
    hint: "The header is damaged: export the sound again.",
  });
}

export function checkChannels(channels: number, path: string, limits: Limits): void {
  if (channels >= 1 && channels <= limits.maxAudioChannels) return;
  throw new InputError(`Expected 1 to ${limits.maxAudioChannels} audio channels for ${path} but received ${channels}`, {
    code: "MEDIA_TOO_MANY_CHANNELS",
    hint: "Raise limits.maxAudioChannels if the file is trusted.",
  });
}

export function truncated(path: string, received: string): InputError {
  return new InputError(`Expected a whole media file for ${path} but received ${received}`, {
    code: "MEDIA_TRUNCATED",
    hint: "All that could be decoded was delivered first; copy or record the file again for the rest.",
  });
}

/** The limits that ffmpeg itself enforces, by what it says when it does. */
export function limitRefusal(path: string, messages: string, limits: Limits): InputError | undefined {
  if (/max pixel count|Picture size \d+x\d+ is invalid/i.test(messages)) {
    return new InputError(`Expected at most ${limits.maxPixels} pixels for ${path} but received larger frames`, {
      code: "MEDIA_TOO_LARGE",
      hint: "Raise limits.maxPixels if the file is trusted.",
    });
  }
  if (/max_streams/i.test(messages)) {
    return new InputError(`Expected at most ${limits.maxStreams} streams for ${path} but received more`, {
      code: "MEDIA_TOO_MANY_STREAMS",
      hint: "Raise limits.maxStreams if the file is trusted.",
    });
  }
  return undefined;
}

/** A stream whose index stands at its end, which cannot be read before the rest has gone by. */
export function unstreamable(path: string, received: string): InputError {
  return new InputError(`Expected an index at the beginning of ${path} but received ${received}`, {
    code: "MEDIA_NOT_STREAMABLE",
    hint: "Save it to a file first, or write it with `-movflags +faststart` or as Matroska.",
  });
}
