// Cost per token against length: a small hybrid with window attention, chunk after chunk.

import { StackModel, seededWeights } from "../../packages/nn/dist/index.js";
import { generator } from "../../packages/runtime/dist/conformance/index.js";
import { median } from "../lib/kit.mjs";

const [WIDTH, CHUNK, SHORT, LONG, TURNS] = [128, 2000, 10_000, 500_000, 15];
const STACK = {
  width: WIDTH,
  layout: "M2 M2 M2 A",
  mamba2: { headDim: 32, stateSize: 64 },
  attention: { heads: 4, keyHeads: 2, headDim: 32, window: 1024 },
};

async function run(kit) {
  const length = kit.quick ? LONG / 10 : LONG;
  const random = generator(1);
  const values = Float32Array.from({ length: CHUNK * WIDTH }, () => 2 * random() - 1);
  const model = await StackModel.create(kit.device, STACK, seededWeights(1), { maxTokens: CHUNK, slots: 2 });
  // Microseconds per token of the processor and of the clock, from here to `tokens` tokens on.
  const go = async (session, tokens) => {
    const cpu = process.cpuUsage();
    const began = performance.now();
    for (let at = 0; at < tokens; at += CHUNK) await model.run(values, { sessions: [session] });
    const { user, system } = process.cpuUsage(cpu);
    return { cpu: (user + system) / tokens, wall: ((performance.now() - began) * 1000) / tokens };
  };
  try {
    const whole = await model.open();
    await go(whole, length);
    // In turn, since the machine's rates move within the minutes that the way to there takes.
    const turns = [];
    for (let i = 0; i < TURNS; i++) {
      const session = await model.open();
      const first = await go(session, SHORT);
      session.close();
      turns.push({ first, last: await go(whole, SHORT) });
    }
    whole.close();
    const of = (pick) => median(turns.map(pick));
    return {
      tokens: length,
      turns: TURNS,
      firstMicros: of(({ first }) => first.wall),
      lastMicros: of(({ last }) => last.wall),
      firstCpuMicros: of(({ first }) => first.cpu),
      lastCpuMicros: of(({ last }) => last.cpu),
      ratio: of(({ first, last }) => last.wall / first.wall),
      cpuRatio: of(({ first, last }) => last.cpu / first.cpu),
    };
  } finally {
    model.close();
  }
}

export const rows = [{ id: "length/hybrid_window_10k_500k", run }];
