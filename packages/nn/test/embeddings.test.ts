import { Graph, interpret, type Value, verify } from "@krait/graph";
import { type Device, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, expect, test } from "vitest";
import { embeddingParameters, embedTokens, inputsSchema, modalityRows } from "../src/embeddings.js";
import { seededWeights } from "../src/index.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const WIDTH = 12;
const inputs = inputsSchema.parse({ audio: { stack: 2 }, text: { vocabularySize: 40 } });
const melWidth = 2 * 80;

let device: Device;
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
});
afterAll(() => device.close());

test.each([true, false])(
  `rows are those of their definition in float64 and on the CPU, class token: %s, seed ${seed}`,
  async (hasClass) => {
    const [tokens, melRows, words] = [127, 9, 23];
    const graph = new Graph("embeddings");
    const T = graph.symbol("T", tokens);
    const weights: Record<string, Float32Array> = {};
    const tensors = new Map<string, Value>();
    for (const spec of embeddingParameters(inputs, WIDTH, hasClass)) {
      weights[spec.name] = await seededWeights(seed).read(spec);
      tensors.set(spec.name, graph.parameter(spec.name, "f32", spec.programShape ?? spec.shape));
    }
    expect("class.weight" in weights).toBe(hasClass);
    graph.output(
      "x",
      embedTokens(inputs, { graph, tensors, tokens: T, maxTokens: tokens, dtype: "f32", outDtype: "f32", hasClass }),
    );
    verify(graph);

    const zeros = melRows + words;
    const rows = Int32Array.from({ length: tokens }, () => Math.floor(random() * (zeros + 3)));
    const modality = rows.map((row) =>
      row < melRows
        ? modalityRows.audio
        : row < zeros
          ? modalityRows.text
          : hasClass && row > zeros
            ? modalityRows.class
            : modalityRows.separator,
    );
    const run = {
      rows: rows.map((row) => Math.min(row, zeros)),
      modality,
      mel: Float32Array.from({ length: melRows * melWidth }, () => 2 * random() - 1),
      textIds: Int32Array.from({ length: words }, () => Math.floor(random() * 40)),
      separator: new Float32Array(WIDTH),
    };
    const kinds = [...weights["modality.weight"]!, ...(weights["class.weight"] ?? [])];
    const wanted = Float64Array.from({ length: tokens * WIDTH }, (_, at) => {
      const [t, d] = [Math.floor(at / WIDTH), at % WIDTH];
      const row = run.rows[t]!;
      let value = kinds[modality[t]! * WIDTH + d]!;
      if (row < melRows) {
        value += weights["audio.embedding.bias"]![d]!;
        for (let c = 0; c < melWidth; c++)
          value += run.mel[row * melWidth + c]! * weights["audio.embedding.weight"]![d * melWidth + c]!;
      } else if (row < zeros) value += weights["text.embedding.weight"]![run.textIds[row - melRows]! * WIDTH + d]!;
      return value;
    });
    const symbols = { T: tokens, A: melRows, X: words };
    expect(relativeRms(interpret(graph, symbols, { ...weights, ...run }).outputs.x!.data, wanted)).toBeLessThan(1e-14);

    const buffers: Record<string, Awaited<ReturnType<Device["upload"]>>> = {};
    for (const [name, data] of Object.entries(weights)) buffers[name] = await device.upload(data);
    const program = await device.load(graph, { buffers });
    const { x } = await program.run({ symbols, inputs: run });
    program.close();
    for (const buffer of Object.values(buffers)) buffer.close();
    expect(relativeRms(x as Float32Array, wanted)).toBeLessThan(1e-6);
  },
);
