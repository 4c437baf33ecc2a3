// One layout at one length, in a process of its own: prints its seconds, the bytes of the process at its peak and of the carried state.
import { loadEncoder, text } from "krait";

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
  const session = await encoder.open();
  const begun = performance.now();
  let seen = 0;
  for await (const { count } of encoder.stream([text(bytes(tokens))], { session })) seen += count;
  const seconds = (performance.now() - begun) / 1000;
  const { states } = await session.snapshot();
  const stateBytes = Object.values(states).reduce((sum, { byteLength }) => sum + byteLength, 0);
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  console.log(JSON.stringify({ tokens: seen, seconds, peakBytes, stateBytes }));
} finally {
  await encoder.close();
}
