import {
  type EncoderChunk,
  EncoderModel,
  modalityRows,
  parseEncoderConfig,
  patchesPerTubelet,
  type Session,
  seededWeights,
} from "@krait/nn";
import { type Device, inspectCuda, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const below = (n: number) => Math.floor(random() * n);

const config = parseEncoderConfig({
  model_type: "krait_encoder",
  version: 1,
  inputs: { video: { width: 32, height: 32, patch: 16 }, audio: { stack: 2 }, text: {} },
  sequence: { classToken: "middle" },
  stack: {
    width: 32,
    layout: "(M2 A)x2",
    mamba2: { stateSize: 16, headDim: 16, groups: 2, chunkSize: 8 },
    attention: { heads: 2, keyHeads: 1, window: 9, sinks: 2 },
  },
});
const video = config.inputs.video!;
const audio = config.inputs.audio!;
const perTubelet = patchesPerTubelet(video);
const tubeletBytes = video.tubelet * video.height * video.width * 3;
const melWidth = audio.stack * audio.melBins;

/** Counts of a chunk's sources; its rows are numbered in this order, and that of separators and class tokens comes last. */
interface Sizes {
  patches: number;
  mel: number;
  text: number;
}

const sizesOf = (chunk: EncoderChunk): Sizes => ({
  patches: (chunk.frames.length / tubeletBytes) * perTubelet,
  mel: chunk.mel.length / melWidth,
  text: chunk.textIds.length,
});

/** One sequence of random sources whose tokens come in any order, some of them separators and class tokens. */
function randomChunk(tokens: number): EncoderChunk {
  const tubelets = below(3);
  const frames = Uint8Array.from({ length: tubelets * tubeletBytes }, () => below(256));
  const mel = Float32Array.from({ length: below(20) * melWidth }, () => 2 * random() - 1);
  const textIds = Int32Array.from({ length: 1 + below(20) }, () => below(256));
  const chunk = {
    lengths: [tokens],
    frames,
    mel,
    textIds,
    rows: new Int32Array(tokens),
    modality: new Int32Array(tokens),
  };
  const sizes = sizesOf(chunk);
  for (let i = 0; i < tokens; i++) {
    const row = below(sizes.patches + sizes.mel + sizes.text + 1);
    chunk.rows[i] = row;
    chunk.modality[i] = modalityOf(row, sizes);
  }
  return chunk;
}

function modalityOf(row: number, { patches, mel, text }: Sizes): number {
  if (row < patches) return modalityRows.video;
  if (row < patches + mel) return modalityRows.audio;
  if (row < patches + mel + text) return modalityRows.text;
  return below(2) === 0 ? modalityRows.separator : modalityRows.class;
}

/** Several sequences as one run: sources of a kind lie together, so every row gets another number. */
function pack(chunks: readonly EncoderChunk[]): EncoderChunk {
  const all = chunks.map(sizesOf);
  const sum = (key: keyof Sizes, to = all.length) => all.slice(0, to).reduce((total, sizes) => total + sizes[key], 0);
  const [patches, mel, text] = [sum("patches"), sum("mel"), sum("text")];
  const rows = chunks.map((chunk, c) => {
    const own = all[c]!;
    return Array.from(chunk.rows, (row) => {
      if (row < own.patches) return sum("patches", c) + row;
      if (row < own.patches + own.mel) return patches + sum("mel", c) + row - own.patches;
      const word = row - own.patches - own.mel;
      return word < own.text ? patches + mel + sum("text", c) + word : patches + mel + text;
    });
  });
  return {
    lengths: chunks.flatMap((chunk) => [...chunk.lengths]),
    frames: Uint8Array.from(chunks.flatMap((chunk) => [...chunk.frames])),
    mel: Float32Array.from(chunks.flatMap((chunk) => [...chunk.mel])),
    textIds: Int32Array.from(chunks.flatMap((chunk) => [...chunk.textIds])),
    rows: Int32Array.from(rows.flat()),
    modality: Int32Array.from(chunks.flatMap((chunk) => [...chunk.modality])),
  };
}

/** The features of each sequence of a packed run. */
function split(features: Float32Array, chunks: readonly EncoderChunk[]): Float32Array[] {
  let end = 0;
  return chunks.map(({ lengths }) => {
    const start = end;
    end += lengths[0]! * config.stack.width;
    return features.subarray(start, end);
  });
}

const devices = [
  { kind: "cpu", dtype: "f32", bound: 1e-5, available: true },
  { kind: "cuda", dtype: "f32", bound: 1e-5, available: inspectCuda().devices > 0 },
  { kind: "cuda", dtype: "bf16", bound: 2e-2, available: inspectCuda().devices > 0 },
] as const;

for (const { kind, dtype, bound, available } of devices) {
  describe.skipIf(!available)(`packed sequences of all modalities on ${kind} in ${dtype}, seed ${seed}`, () => {
    let device: Device;
    let model: EncoderModel;
    beforeAll(async () => {
      device = await openDevice({ device: kind });
      model = await EncoderModel.create(device, config, seededWeights(3), { dtype, maxTokens: 512, slots: 12 });
    });
    afterAll(() => device.close());

    it("equal each sequence alone", async () => {
      const chunks = [1, 40, 3, 129, 17, 0, 64].map(randomChunk);
      const together = split(await model.run(pack(chunks)), chunks);
      for (const [i, chunk] of chunks.entries()) {
        if (chunk.lengths[0] === 0) continue;
        expect(relativeRms(together[i]!, await model.run(chunk)), `sequence ${i}`).toBeLessThanOrEqual(bound);
      }
    });

    it("keep a state each, in whatever company they go on", async () => {
      const chunks = [30, 7, 55].map(randomChunk);
      const next = [12, 80, 1].map(randomChunk);
      const alone: Float32Array[] = [];
      for (const [i, chunk] of chunks.entries()) {
        const session = await model.open();
        await model.run(chunk, [session]);
        alone.push(await model.run(next[i]!, [session]));
        session.close();
      }
      const sessions: Session[] = [];
      for (const _ of chunks) sessions.push(await model.open());
      await model.run(pack(chunks), sessions);
      // The second and the first go on together with a stranger, the third by itself.
      const stranger = randomChunk(20);
      const mixed = [next[1]!, stranger, next[0]!];
      const out = split(await model.run(pack(mixed), [sessions[1], undefined, sessions[0]]), mixed);
      const third = await model.run(next[2]!, [sessions[2]]);
      expect(relativeRms(out[0]!, alone[1]!)).toBeLessThanOrEqual(bound);
      expect(relativeRms(out[1]!, await model.run(stranger))).toBeLessThanOrEqual(bound);
      expect(relativeRms(out[2]!, alone[0]!)).toBeLessThanOrEqual(bound);
      expect(relativeRms(third, alone[2]!)).toBeLessThanOrEqual(bound);
      expect(sessions.map((session) => session.position)).toEqual([42, 87, 56]);
      for (const session of sessions) session.close();
    });

    it("may be fed from arrays that are used again at once", async () => {
      const chunk = randomChunk(50);
      const wanted = await model.run(chunk);
      const running = model.run(chunk);
      for (const array of [chunk.frames, chunk.mel, chunk.textIds, chunk.rows, chunk.modality]) array.fill(0);
      expect(await running).toEqual(wanted);
    });
  });
}
