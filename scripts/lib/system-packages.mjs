import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { findCommand } from "./process.mjs";

const prefixes = ["/usr", "/usr/local", "/opt/homebrew", "/opt/local"];

function hasHeader(name) {
  const places = [...prefixes.map((prefix) => join(prefix, "include")), ...(process.env.CPATH ?? "").split(":")];
  return places.some((place) => place !== "" && existsSync(join(place, name)));
}

/** Looks where the dynamic loader does on common systems; multiarch folders are those named like x86_64-linux-gnu. */
function hasLibrary(pattern) {
  const places = (process.env.LD_LIBRARY_PATH ?? "").split(":").filter((place) => place !== "");
  for (const prefix of ["", ...prefixes]) {
    for (const lib of ["lib", "lib64"]) {
      const place = join(prefix || "/", lib);
      places.push(place);
      for (const name of names(place)) if (name.includes("-linux-")) places.push(join(place, name));
    }
  }
  return places.some((place) => names(place).some((name) => pattern.test(name)));
}

function names(place) {
  try {
    return readdirSync(place);
  } catch {
    return [];
  }
}

/**
 * What the build and the decoders need from the system. `present` looks without starting a process.
 * Optional ones make things faster; without them setup warns and goes on.
 */
export const systemPackages = [
  {
    name: "ffmpeg",
    purpose: "decodes video and sound",
    required: true,
    present: () => Boolean(findCommand("ffmpeg") && findCommand("ffprobe")),
    apt: "ffmpeg",
    dnf: "ffmpeg-free",
    brew: "ffmpeg",
  },
  {
    name: "C++ compiler",
    purpose: "builds the kernels (C++20, OpenMP)",
    required: true,
    present: () => [process.env.CXX, "g++", "c++", "clang++"].some((name) => name && findCommand(name)),
    apt: "g++",
    dnf: "gcc-c++",
    brew: "gcc",
  },
  {
    name: "CMake",
    purpose: "configures the native build",
    required: true,
    present: () => Boolean(findCommand("cmake")),
    apt: "cmake",
    dnf: "cmake",
    brew: "cmake",
  },
  {
    name: "Ninja",
    purpose: "runs the native build",
    required: true,
    present: () => Boolean(findCommand("ninja")),
    apt: "ninja-build",
    dnf: "ninja-build",
    brew: "ninja",
  },
  {
    name: "Highway",
    purpose: "SIMD chosen at run time",
    required: true,
    present: () => hasHeader("hwy/highway.h") && hasLibrary(/^libhwy\.(so|a|dylib)/),
    apt: "libhwy-dev",
    dnf: "highway-devel",
    brew: "highway",
  },
  {
    name: "oneDNN",
    purpose: "faster matrix products on the CPU, opened at run time",
    required: false,
    present: () => hasLibrary(/^libdnnl\.(so\.2|2\.dylib)/),
    apt: "libdnnl2",
    dnf: "onednn",
    brew: "onednn",
  },
];
