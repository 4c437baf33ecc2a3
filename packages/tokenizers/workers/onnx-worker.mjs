// Runs one ONNX model on a thread of its own: onnxruntime-node computes on the thread that calls it.
import { createRequire } from "node:module";
import { parentPort, workerData } from "node:worker_threads";

const { InferenceSession, Tensor } = createRequire(workerData.runtime)(workerData.runtime);

const describe = ({ name, isTensor, type, shape }) => ({ name, isTensor, type, shape: [...(shape ?? [])] });

let session;
try {
  session = await InferenceSession.create(workerData.model, {
    executionProviders: ["cpu"],
    intraOpNumThreads: workerData.threads,
    interOpNumThreads: 1,
    logSeverityLevel: 4,
  });
  parentPort.postMessage({
    ready: { inputs: session.inputMetadata.map(describe), outputs: session.outputMetadata.map(describe) },
  });
} catch (error) {
  parentPort.postMessage({ failed: String(error?.message ?? error) });
}

parentPort.on("message", async ({ feeds, fetches, close }) => {
  if (close) {
    await session?.release();
    parentPort.close();
    return;
  }
  try {
    const given = {};
    for (const [name, { type, dims, data }] of Object.entries(feeds)) given[name] = new Tensor(type, data, dims);
    const results = await session.run(given, fetches);
    const outputs = {};
    const owned = new Set();
    for (const name of fetches) {
      const { type, dims, data } = results[name];
      // What the runtime holds may be freed or shared: a copy can be handed over.
      const copy = data.slice();
      owned.add(copy.buffer);
      outputs[name] = { type, dims: [...dims], data: copy };
    }
    parentPort.postMessage({ outputs }, [...owned]);
  } catch (error) {
    parentPort.postMessage({ error: String(error?.message ?? error) });
  }
});
