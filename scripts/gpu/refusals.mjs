// What a GPU cannot do is said as an error that can be acted on, and the device serves on.
import { Graph, routeExperts } from "../../packages/graph/dist/index.js";
import { StackModel, seededWeights } from "../../packages/nn/dist/index.js";
import { openDevice } from "../../packages/runtime/dist/index.js";

async function refusal(id, code, words, attempt) {
  try {
    await attempt();
    return { id, failures: ["nothing was refused"] };
  } catch (error) {
    const missing = words.filter((word) => !error.message.includes(word));
    const failures = missing.map((word) => `"${error.message}" does not say "${word}"`);
    if (error.code !== code) failures.push(`code ${error.code} instead of ${code}: ${error.message}`);
    return { id, failures };
  }
}

/** Sends ten tokens to given experts, of five. */
async function route(device, given) {
  const graph = new Graph("route");
  const inputs = { logits: graph.input("logits", "f32", [10, 5]), given: graph.input("given", "i32", [10, 2]) };
  graph.output("experts", routeExperts(inputs, { topK: 2 }).experts);
  const program = await device.load(graph);
  try {
    return (await program.run({ symbols: {}, inputs: { logits: new Float32Array(50), given } })).experts;
  } finally {
    program.close();
  }
}

/** @param devices how many GPUs there are */
export async function checkRefusals(devices) {
  const device = await openDevice({ device: "cuda" });
  const options = { width: 256, layout: "M2 A", attention: { heads: 4 } };
  const load = (maxTokens) => StackModel.create(device, options, seededWeights(0), { maxTokens });
  const rows = [
    await refusal("refuses/an index without a device", "DEVICE_INDEX_INVALID", [`below ${devices}`], () =>
      openDevice({ device: "cuda", index: devices }),
    ),
    await refusal("refuses/more memory than there is", "OUT_OF_MEMORY", ["working memory", "weights", "free"], () =>
      load(2 ** 33),
    ),
  ];
  for (const wrong of [5, -2, 2 ** 31 - 1]) {
    const given = new Int32Array(20).fill(3);
    given[11] = wrong;
    const attempt = () => route(device, given);
    rows.push(await refusal(`refuses/the given expert ${wrong} of 5`, "INVALID_RUN", ["route_experts"], attempt));
  }
  const replayed = await route(device, new Int32Array(20).fill(4));
  rows.push({ id: "replays after a refusal", failures: replayed.every((e) => e === 4) ? [] : [`${replayed}`] });
  const model = await load(64);
  const y = await model.run(new Float32Array(64 * 256).fill(0.1));
  rows.push({ id: "serves on after a refusal", failures: y.every(Number.isFinite) ? [] : ["features are not finite"] });
  model.close();
  await device.close();
  return rows;
}
