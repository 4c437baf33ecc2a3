// One layout at one length, in a process of its own: prints its seconds (the fewest of up to five runs), the bytes of the process at its
// peak and of the carried state.
import { loadEncoder, text } from "krait";
import "../plain-errors.mjs";

const { stack, tokens } = JSON.parse(process.argv[2]);
const config = { model_type: "krait_encoder", version: 1, inputs: { text: {} }, stack };
// maxTokens is the room for the keys and values of full attention; the other layouts need none.
const encoder = await loadEncoder(
  { seed: 0, config },
  { device: "cpu", chunkTokens: 512, maxTokens: tokens, slots: 1 },
);
const bytes = (count) => "Long sequences of many words. ".repeat(Math.ceil(count / 30)).slice(0, count); // each a token
try {
  await encoder.encode([text(bytes(Math.min(tokens, 512)))]); // what is slow once
  const times = [];
  let seen = 0;
  let stateBytes = 0;
  // Short ones five times: a moment in which the machine does something else would show.
  while (times.length < 5 && !(times[0] > 1)) {
    const session = await encoder.open();
    const begun = performance.now();
    seen = 0;
    for await (const { count } of encoder.stream([text(bytes(tokens))], { session })) seen += count;
    times.push((performance.now() - begun) / 1000);
    const { states } = await session.snapshot();
    stateBytes = Object.values(states).reduce((sum, { byteLength }) => sum + byteLength, 0);
    session.close();
  }
  const seconds = Math.min(...times);
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  console.log(JSON.stringify({ tokens: seen, seconds, peakBytes, stateBytes }));
} finally {
  await encoder.close();
}
