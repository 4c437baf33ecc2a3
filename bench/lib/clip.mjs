// Long clips to measure with: H.264 720p at 25 frames per second, about 3 Mbit/s, a key frame every 250, with stereo sound.
//
// Seven pieces of a minute are drawn and encoded, then joined by copying: from the seventh minute on they come again, which costs a decoder
// the same as new ones. Every piece pans over fractal textures that change every five seconds, under noise that is new in each frame.
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const ffmpeg = (args, cwd) => run("ffmpeg", ["-v", "error", "-nostdin", "-y", ...args], { cwd });
const PIECES = 7;

/** Never a half-written file under its final name. */
async function once(folder, name, args) {
  if (existsSync(join(folder, name))) return;
  const unfinished = `unfinished-${name}`;
  await ffmpeg([...args, unfinished], folder);
  renameSync(join(folder, unfinished), join(folder, name));
}

export async function makePiece(folder, index) {
  mkdirSync(folder, { recursive: true });
  const texture = `mandelbrot=s=2560x1440:rate=1/5:maxiter=400:start_scale=${0.8 / (index + 1)}:end_scale=0.0003`;
  const pan = `crop=1280:720:x='640+600*sin(t/5+${index})':y='360+330*sin(t/7+${2 * index})'`;
  const filter = `fps=25,${pan},noise=c0s=14:allf=t:all_seed=${index + 1},format=yuv420p`;
  const rate = ["-b:v", "3M", "-maxrate", "4M", "-bufsize", "8M"];
  const keys = ["-g", "250", "-keyint_min", "250", "-sc_threshold", "0"];
  await once(folder, `piece-${index}.mp4`, [
    ...["-f", "lavfi", "-i", texture, "-vf", filter, "-t", "60", "-an"],
    ...["-c:v", "libx264", "-preset", "superfast", ...rate, ...keys],
  ]);
}

/** Makes, or finds from an earlier run, a clip of so many minutes. Returns its path. */
export async function longClip(folder, minutes) {
  for (let i = 0; i < PIECES; i++) await makePiece(folder, i);
  const tone = "0.3*sin(2*PI*t*(220+80*sin(t/7)))*gt(sin(t/3)\\,-0.3)+0.02*(random(0)-0.5)";
  const sound = ["-f", "lavfi", "-i", `aevalsrc=${tone}|${tone}:s=48000:d=60`];
  await once(folder, "sound.m4a", [...sound, "-c:a", "aac", "-b:a", "128k"]);
  const list = Array.from({ length: minutes }, (_, i) => `file 'piece-${i % PIECES}.mp4'\n`).join("");
  writeFileSync(join(folder, `list-${minutes}.txt`), `ffconcat version 1.0\n${list}`);
  const name = `clip-${minutes}.mp4`;
  const inputs = ["-f", "concat", "-i", `list-${minutes}.txt`];
  inputs.push("-stream_loop", String(minutes - 1), "-i", "sound.m4a");
  await once(folder, name, [...inputs, "-map", "0:v", "-map", "1:a", "-c", "copy"]);
  return join(folder, name);
}
