import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { EnvironmentError } from "@krait/core";

export type ProgramName = "ffmpeg" | "ffprobe";

/**
 * Finds ffmpeg or ffprobe: KRAIT_FFMPEG / KRAIT_FFPROBE, then FFMPEG_PATH / FFPROBE_PATH, then the PATH.
 * Looked up at each use, so that a program installed meanwhile is found.
 *
 * Throws `EnvironmentError` FFMPEG_NOT_FOUND.
 */
export async function findProgram(name: ProgramName): Promise<string> {
  const upper = name.toUpperCase();
  for (const variable of [`KRAIT_${upper}`, `${upper}_PATH`]) {
    const path = process.env[variable];
    if (!path) continue;
    if (await isExecutable(path)) return path;
    throw notFound(name, `${variable}=${path}, which is no executable file`);
  }
  const suffix = process.platform === "win32" ? ".exe" : "";
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  for (const folder of folders) {
    const path = join(folder, name + suffix);
    if (await isExecutable(path)) return path;
  }
  throw notFound(name, `none in the ${folders.length} folders of PATH`);
}

function notFound(name: ProgramName, received: string): EnvironmentError {
  return new EnvironmentError(`Expected the program ${name} for decoding but received ${received}`, {
    code: "FFMPEG_NOT_FOUND",
    hint:
      "Install it: `apt-get install ffmpeg`, `brew install ffmpeg`, `winget install ffmpeg`; " +
      `or name it with KRAIT_${name.toUpperCase()}. Wav files and images work without it.`,
  });
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
