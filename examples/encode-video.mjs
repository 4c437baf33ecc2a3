// Video, sound and words become one sequence of features, each with its time.
import { audio, loadEncoder, text, video } from "krait";

const clip = process.argv[2] ?? "out/demo/street.mkv";
const encoder = await loadEncoder({ seed: 0 }); // random weights: no trained model exists yet
try {
  const question = text("Who is crossing the street?");
  const { data, dim, tokens } = await encoder.encode([question, video(clip, { fps: 2 }), audio(clip)]);
  for (const [i, { modality, start, end }] of tokens.entries()) {
    if (modality === tokens[i - 1]?.modality) continue; // one line for each run of letters, patches or sounds
    const features = Array.from(data.subarray(i * dim, i * dim + 4), (value) => value.toFixed(3));
    console.log(`${start.toFixed(2)} to ${end.toFixed(2)} s  ${modality}  [${features.join(", ")}, …]`);
  }
} finally {
  await encoder.close();
}
