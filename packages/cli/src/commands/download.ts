import type { DownloadProgress } from "krait";
import { help, parseArguments } from "../arguments.js";
import { UsageFault } from "../fault.js";
import { bytes, wait } from "../format.js";
import type { Command } from "../main.js";
import { startProgress } from "../progress.js";
import { loadSdk } from "../sdk.js";

/** `krait download`: a published model into the cache, and where it lies on standard output. */
export const download: Command = async (argv, { signal, print }) => {
  const { options, operands } = parseArguments("download", argv, {
    revision: { value: true },
    cache: { value: true },
    hub: { value: true },
    offline: {},
    quiet: {},
    json: {},
  });
  const [id] = operands;
  if (id === undefined || operands.length > 1) {
    throw new UsageFault(
      `Expected one model as ORGANISATION/NAME for krait download but received ${operands.length || "none"}`,
      "OPERANDS",
      help("download"),
    );
  }
  const [revision, cacheFolder, hubUrl] = ["revision", "cache", "hub"].map((name) => options.get(name));
  const sdk = await loadSdk();
  const progress = startProgress<DownloadProgress>(`downloading ${id}`, {
    quiet: options.has("quiet"),
    out: process.stderr,
    format: formatDownload,
  });
  try {
    const result = await sdk.downloadModel(id, {
      ...(revision !== undefined && { revision }),
      ...(cacheFolder !== undefined && { cacheFolder }),
      ...(hubUrl !== undefined && { hubUrl }),
      ...(options.has("offline") && { offline: true }),
      onProgress: (state) => progress.update(state),
      signal,
    });
    progress.close();
    print(options.has("json") ? `${JSON.stringify(result)}\n` : `${result.folder}\n`);
    return 0;
  } finally {
    progress.close();
  }
};

/** `model.safetensors  1.2 GiB / 2.5 GiB  eta 40s`. */
export function formatDownload({ file, bytes: done, totalBytes, elapsedSeconds }: DownloadProgress): string {
  const place = `${file}  ${bytes(done)} / ${bytes(totalBytes)}`;
  if (done <= 0 || elapsedSeconds <= 0) return place;
  return `${place}  eta ${wait(((totalBytes - done) / done) * elapsedSeconds)}`;
}
