// The demo's clip: a street camera with read speech as its sound, or a made one where those recordings cannot be had.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { findMedia } from "../../scripts/lib/media-packages.mjs";
import { run } from "../../scripts/lib/process.mjs";

const camera = "usr/share/doc/opencv-doc/examples/data/vtest.avi";
const speech = "usr/share/pocketsphinx/test/data/librivox";
/** Seconds of the camera's recording; the spoken sentences are spread evenly over them. */
const cameraSeconds = 79.5;
const madeSeconds = 60;

/** Makes the clip unless it is there; returns its path and what it shows. Throws when ffmpeg fails. */
export function makeClip(folder) {
  const video = findMedia(camera);
  const voices = findVoices();
  if (video && voices.length > 0) {
    const path = join(folder, "street.mkv");
    const inputs = ["-i", video, ...voices.flatMap((voice) => ["-i", voice])];
    ffmpeg(path, [...inputs, ...soundOf(voices.length), "-map", "0:v", "-c:v", "copy", "-t", String(cameraSeconds)]);
    return {
      path,
      real: true,
      shows: "a street camera (OpenCV's vtest.avi) with sentences read for LibriVox as its sound",
    };
  }
  const path = join(folder, "made.mkv");
  ffmpeg(path, [
    ...["-f", "lavfi", "-i", `testsrc2=size=320x240:rate=10:duration=${madeSeconds}`],
    // A tone that comes and goes, so that its sound has something to show.
    ...["-f", "lavfi", "-i", `aevalsrc=0.4*sin(2*PI*t*(220+8*t))*gt(sin(2*PI*t/7)\\,0):s=16000:d=${madeSeconds}`],
    ...["-map", "0:v", "-map", "1:a", "-c:v", "mpeg4", "-q:v", "3", "-c:a", "pcm_s16le"],
  ]);
  return {
    path,
    real: false,
    shows: "a generated test pattern with a tone (the recordings that the paragraph speaks of could not be had)",
  };
}

function findVoices() {
  const folder = findMedia(speech);
  if (!folder) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith(".wav"));
  return names.sort().map((name) => join(folder, name));
}

/** Every voice gets an equal share of the time: its sentence, then silence. */
function soundOf(voices) {
  const share = cameraSeconds / voices;
  const shares = Array.from({ length: voices }, (_, i) => `[${i + 1}:a]apad,atrim=0:${share}[s${i}]`);
  const joined = Array.from({ length: voices }, (_, i) => `[s${i}]`).join("");
  const graph = `${shares.join(";")};${joined}concat=n=${voices}:v=0:a=1[sound]`;
  return ["-filter_complex", graph, "-map", "[sound]", "-c:a", "pcm_s16le"];
}

/** Appears under its name when it is whole. */
function ffmpeg(path, args) {
  if (existsSync(path)) return;
  mkdirSync(dirname(path), { recursive: true });
  const program = process.env.KRAIT_FFMPEG ?? "ffmpeg";
  const part = path.replace(/\.mkv$/, ".partial.mkv");
  try {
    if (run(program, ["-v", "error", "-nostdin", "-y", ...args, part]) !== 0)
      throw new Error("ffmpeg could not make the demo's clip");
    renameSync(part, path);
  } finally {
    rmSync(part, { force: true });
  }
}
