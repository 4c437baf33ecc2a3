// Hours of media in flat memory: features in parts as they come, with progress; Ctrl-C stops at once.
import { audio, KraitError, loadEncoder, video } from "krait";

const clip = process.argv[2] ?? "out/demo/street.mkv";
const controller = new AbortController();
process.once("SIGINT", () => controller.abort());
const encoder = await loadEncoder({ seed: 0 }, { chunkTokens: 1024 });
try {
  const parts = encoder.stream([video(clip), audio(clip)], {
    signal: controller.signal,
    onProgress: ({ tokens, totalTokens }) => console.error(`${tokens} of about ${totalTokens} tokens`),
  });
  for await (const { count, dim, features, start } of parts) {
    // features is [count, dim]; start, end, modality, row and column have one entry per token.
    console.log(`${features.length / dim} tokens from ${start[0].toFixed(2)} to ${start[count - 1].toFixed(2)} s`);
  }
} catch (error) {
  if (!KraitError.is(error) || error.code !== "ABORTED") throw error;
  console.error("stopped");
} finally {
  await encoder.close();
}
