// Compiles bench/native/*.cpp once per machine and runs what is in it.
import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const source = fileURLToPath(new URL("../native/", import.meta.url));
const folder = fileURLToPath(new URL("../../build/bench/", import.meta.url));
const binary = `${folder}native`;
let built;

async function build() {
  const sources = readdirSync(source).filter((file) => file.endsWith(".cpp"));
  const newest = Math.max(...readdirSync(source).map((file) => statSync(`${source}${file}`).mtimeMs));
  if ((statSync(binary, { throwIfNoEntry: false })?.mtimeMs ?? 0) > newest) return;
  mkdirSync(folder, { recursive: true });
  const flags = ["-std=c++20", "-O3", "-march=native", "-fopenmp", "-o", binary];
  await run(process.env.CXX ?? "g++", [...flags, ...sources.map((file) => `${source}${file}`)]);
}

/** One object: what the program printed as JSON. */
export async function nativeBench(args, threads) {
  built ??= build();
  await built;
  const { stdout } = await run(binary, args, { env: { ...process.env, OMP_NUM_THREADS: String(threads) } });
  return JSON.parse(stdout);
}
