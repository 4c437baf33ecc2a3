// A sequence that goes on from call to call: ten seconds are encoded once, then every question continues from there.
import { deepEqual, notDeepEqual } from "node:assert/strict";
import { audio, loadEncoder, text, video } from "krait";

const clip = process.argv[2] ?? "out/demo/street.mkv";
const encoder = await loadEncoder({ seed: 0 });
try {
  const session = await encoder.open();
  await encoder.encode([video(clip, { end: 10 }), audio(clip, { end: 10 })], { session });
  const snapshot = await session.snapshot(); // plain bytes: store them, restore them in another process
  const fork = await session.fork(); // a second sequence with the same past

  const first = await encoder.encode([text("Who speaks?")], { session });
  await session.restore(snapshot);
  const again = await encoder.encode([text("Who speaks?")], { session });
  const other = await encoder.encode([text("What moves?")], { session: fork });
  deepEqual(again, first); // to the bit
  notDeepEqual(other, first);

  const bytes = Object.values(snapshot.states).reduce((sum, state) => sum + state.byteLength, 0);
  console.log(`${snapshot.position} tokens of video and sound are remembered in ${bytes} bytes`);
} finally {
  await encoder.close();
}
