// What a GPU cannot do is said as an error that can be acted on, and the device serves on.
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
  const model = await load(64);
  const y = await model.run(new Float32Array(64 * 256).fill(0.1));
  rows.push({ id: "serves on after a refusal", failures: y.every(Number.isFinite) ? [] : ["features are not finite"] });
  model.close();
  await device.close();
  return rows;
}
