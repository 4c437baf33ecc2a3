import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeSafetensors } from "@krait/formats";
import { type Device, openDevice } from "@krait/runtime";
import { generator, relativeRms } from "@krait/runtime/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { inspectFeatureEncoder, loadCausalModel, loadFeatureEncoder } from "../src/index.js";
import {
  type Mixer,
  patchEmbed,
  project,
  randomState,
  runBlocks,
  type State,
  sizesOf,
  sum,
  tableRow,
} from "./published-encoders.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const random = generator(seed);
const WIDTH = 20;
const STATES = 5;
const DEPTH = 3;
const CLASSES = 7;
const sizes = sizesOf(WIDTH, STATES);
const base = { embed_dim: WIDTH, depth: DEPTH, ssm_cfg: { d_state: STATES }, num_classes: CLASSES };
const head = { "head.weight": [CLASSES, WIDTH], "head.bias": [CLASSES] };

let device: Device;
let folder: string;
beforeAll(async () => {
  device = await openDevice({ device: "cpu" });
  folder = await mkdtemp(join(tmpdir(), "krait-encoders-"));
});
afterAll(async () => {
  await device.close();
  await rm(folder, { recursive: true });
});

interface Published {
  config: Record<string, unknown>;
  state: State;
  /** Numbers of a clip. */
  elements: number;
  /** All tokens of a clip after the final norm, and the place of the class token. */
  run(clip: Float32Array): { tokens: Float64Array[]; classAt: number };
}

/** hustvl/Vim. */
function vim(options: {
  side: number;
  patch: number;
  stride: number;
  type: Mixer["type"];
  middle?: boolean;
  divide?: boolean;
}): Published {
  const { side, patch, stride, type, middle = true, divide = true } = options;
  const along = Math.floor((side - patch) / stride) + 1;
  const count = along * along;
  const state = randomState(seed, DEPTH, sizes, type, {
    cls_token: [1, 1, WIDTH],
    pos_embed: [1, count + 1, WIDTH],
    "patch_embed.proj.weight": [WIDTH, 3, patch, patch],
    "patch_embed.proj.bias": [WIDTH],
    ...head,
  });
  return {
    config: {
      model_type: "vim",
      ...base,
      img_size: side,
      patch_size: patch,
      stride,
      use_middle_cls_token: middle,
      if_divide_out: divide,
    },
    state,
    elements: 3 * side * side,
    run(clip) {
      const { tokens } = patchEmbed(
        state,
        (_, c, y, x) => clip[(c * side + y) * side + x]!,
        [1, side, side],
        [1, stride, stride],
      );
      const classAt = middle ? Math.floor(tokens.length / 2) : 0;
      tokens.splice(classAt, 0, tableRow(state.cls_token!, 0));
      const placed = tokens.map((token, i) => sum(token, tableRow(state.pos_embed!, i)));
      return { tokens: runBlocks(placed, state, DEPTH, { sizes, type, divide }), classAt };
    },
  };
}

/** OpenGVLab/VideoMamba: video_sm with positions in time, image_sm without. */
function videoMamba(options: {
  side: number;
  patch: number;
  frames: number;
  tubelet: number;
  isVideo: boolean;
}): Published {
  const { side, patch, frames, tubelet, isVideo } = options;
  const spatial = (side / patch) ** 2;
  const state = randomState(seed, DEPTH, sizes, "v2", {
    cls_token: [1, 1, WIDTH],
    pos_embed: [1, spatial + 1, WIDTH],
    ...(isVideo && { temporal_pos_embedding: [1, frames / tubelet, WIDTH] }),
    "patch_embed.proj.weight": isVideo ? [WIDTH, 3, tubelet, patch, patch] : [WIDTH, 3, patch, patch],
    "patch_embed.proj.bias": [WIDTH],
    ...head,
  });
  return {
    config: {
      model_type: "videomamba",
      ...base,
      img_size: side,
      patch_size: patch,
      ...(isVideo && { num_frames: frames, kernel_size: tubelet }),
    },
    state,
    elements: frames * 3 * side * side,
    run(clip) {
      const at = (f: number, c: number, y: number, x: number) => clip[((f * 3 + c) * side + y) * side + x]!;
      const { tokens } = patchEmbed(state, at, [frames, side, side], [tubelet, patch, patch]);
      const patches = tokens.map((token, i) => {
        const placed = sum(token, tableRow(state.pos_embed!, 1 + (i % spatial)));
        return isVideo ? sum(placed, tableRow(state.temporal_pos_embedding!, Math.floor(i / spatial))) : placed;
      });
      const first = sum(tableRow(state.cls_token!, 0), tableRow(state.pos_embed!, 0));
      return { tokens: runBlocks([first, ...patches], state, DEPTH, { sizes, type: "v2", divide: false }), classAt: 0 };
    },
  };
}

/** kaistmm/Audio-Mamba-AuM. */
function aum(options: {
  bins: number;
  frames: number;
  patch: [number, number];
  strides: [number, number];
  type: Mixer["type"];
  place?: "middle" | "end" | "first";
  transposed?: boolean;
  divide?: boolean;
}): Published {
  const { bins, frames, patch, strides, type, place = "middle", transposed = false, divide = true } = options;
  const rows = Math.floor((bins - patch[0]) / strides[0]) + 1;
  const columns = Math.floor((frames - patch[1]) / strides[1]) + 1;
  const state = randomState(seed, DEPTH, sizes, type, {
    cls_token: [1, 1, WIDTH],
    "pos_embed.pos_embed": [1, rows * columns + 1, WIDTH],
    "patch_embed.proj.weight": [WIDTH, 1, ...patch],
    "patch_embed.proj.bias": [WIDTH],
    ...head,
  });
  const positions = state["pos_embed.pos_embed"]!;
  return {
    config: {
      model_type: "aum",
      ...base,
      spectrogram_size: [bins, frames],
      patch_size: patch,
      strides,
      use_middle_cls_token: place === "middle",
      use_end_cls_token: place === "end",
      transpose_token_sequence: transposed,
      if_devide_out: divide,
    },
    state,
    elements: bins * frames,
    run(clip) {
      // [time, frequency] comes in and is turned.
      const { tokens } = patchEmbed(state, (_f, _c, y, x) => clip[x * bins + y]!, [1, bins, frames], [1, ...strides]);
      let placed: Float64Array[] = tokens.map((token, i) => sum(token, tableRow(positions, 1 + i)));
      const own = sum(tableRow(state.cls_token!, 0), tableRow(positions, 0));
      if (transposed) {
        const turned: Float64Array[] = [];
        for (let t = 0; t < columns; t++) for (let f = 0; f < rows; f++) turned.push(placed[f * columns + t]!);
        placed = turned;
      }
      const classAt = place === "middle" ? Math.floor(placed.length / 2) : place === "end" ? placed.length : 0;
      placed.splice(classAt, 0, own);
      return { tokens: runBlocks(placed, state, DEPTH, { sizes, type, divide }), classAt };
    },
  };
}

const models: Record<string, () => Published> = {
  "Vim, type v2, halved, class token in the middle": () => vim({ side: 24, patch: 8, stride: 8, type: "v2" }),
  "Vim, overlapping patches, class token first, not halved": () =>
    vim({ side: 20, patch: 8, stride: 4, type: "v2", middle: false, divide: false }),
  "Vim, type v1": () => vim({ side: 16, patch: 8, stride: 8, type: "v1" }),
  "Vim, one way": () => vim({ side: 16, patch: 8, stride: 8, type: "none" }),
  "VideoMamba, tubelets of 2": () => videoMamba({ side: 24, patch: 8, frames: 6, tubelet: 2, isVideo: true }),
  "VideoMamba, single frames": () => videoMamba({ side: 16, patch: 8, frames: 3, tubelet: 1, isVideo: true }),
  "VideoMamba for pictures": () => videoMamba({ side: 24, patch: 8, frames: 1, tubelet: 1, isVideo: false }),
  "AuM base, type v1": () => aum({ bins: 16, frames: 40, patch: [8, 8], strides: [8, 8], type: "v1" }),
  "AuM small, type v2": () => aum({ bins: 16, frames: 24, patch: [8, 4], strides: [4, 4], type: "v2" }),
  "AuM, time after time, class token last": () =>
    aum({ bins: 24, frames: 40, patch: [8, 8], strides: [8, 8], type: "v2", place: "end", transposed: true }),
  "AuM, class token first": () =>
    aum({ bins: 24, frames: 16, patch: [8, 8], strides: [8, 8], type: "v1", place: "first", transposed: true }),
};

async function store(name: string, { config, state }: Pick<Published, "config" | "state">): Promise<string> {
  const at = await mkdtemp(join(folder, `${name.replace(/\W+/g, "-")}-`));
  const tensors = Object.entries(state).map(([key, t]) => [key, { dtype: "f32" as const, ...t }]);
  await writeSafetensors(join(at, "model.safetensors"), Object.fromEntries(tensors));
  await writeFile(join(at, "config.json"), JSON.stringify(config));
  return at;
}

const clipOf = (elements: number) => Float32Array.from({ length: elements }, () => 4 * random() - 2);

describe.each(Object.entries(models))(`%s, seed ${seed}`, (name, make) => {
  test("equals the published definition in float64, and a clip in a run with others itself", async () => {
    const published = make();
    const path = await store(name, published);
    const clips = [0, 1, 2].map(() => clipOf(published.elements));
    for (const [dtype, bound] of [
      ["f32", 1e-5],
      ["bf16", 3e-2],
    ] as const) {
      const encoder = await loadFeatureEncoder(device, path, { dtype, maxClips: 2 });
      const results = await encoder.encode(clips);
      expect(results).toHaveLength(3);
      for (const [i, { features, classToken, logits }] of results.entries()) {
        const { tokens, classAt } = published.run(clips[i]!);
        const [own] = tokens.splice(classAt, 1);
        const flat = Float64Array.from(tokens.flatMap((row) => [...row]));
        expect(features.length).toBe(encoder.tokens * encoder.width);
        expect(relativeRms(features, flat), `${dtype} features`).toBeLessThan(bound);
        expect(relativeRms(classToken, own!), `${dtype} class token`).toBeLessThan(bound);
        // The head alone: what its sums cancel would otherwise enlarge the class token's own error by chance.
        const token = Float64Array.from(classToken);
        const [classes] = project([token], published.state["head.weight"]!, published.state["head.bias"]!);
        expect(relativeRms(logits!, classes!), `${dtype} logits`).toBeLessThan(bound / 2);
      }
      encoder.close();
    }
  });

  test("inspect tells what it is from the headers", async () => {
    const published = make();
    const report = await inspectFeatureEncoder(await store(name, published));
    const parameters = Object.values(published.state).reduce((n, t) => n + t.data.length, 0);
    expect(report).toMatchObject({
      family: published.config.model_type,
      width: WIDTH,
      blocks: Array(DEPTH).fill("mamba1"),
      parameters,
      classes: CLASSES,
      tokens: published.run(clipOf(published.elements)).tokens.length,
    });
    expect(report!.input.reduce((a, b) => a * b, 1)).toBe(published.elements);
    expect(report!.bytes.f32).toBe(4 * parameters);
    expect(report!.flopsPerClip).toBeGreaterThan(0);
  });
});

describe("what does not fit is refused by name", () => {
  const small = () => vim({ side: 16, patch: 8, stride: 8, type: "v2" });

  test("a clip of another size", async () => {
    const encoder = await loadFeatureEncoder(device, await store("size", small()));
    await expect(encoder.encode([new Float32Array(5)])).rejects.toMatchObject({
      code: "INPUT_SIZE",
      message: expect.stringContaining("[1, 3, 16, 16]"),
    });
    encoder.close();
  });

  test.each([
    ["a missing tensor", "TENSOR_MISSING", "D_b", (s: State) => delete s["layers.1.mixer.D_b"]],
    ["a tensor that nothing reads", "TENSOR_UNEXPECTED", "extra", (s: State) => (s.extra = s.cls_token!)],
    [
      "positions of another grid",
      "TENSOR_SHAPE",
      "pos_embed",
      (s: State) => (s.pos_embed = { shape: [1, 4, WIDTH], data: new Float32Array(4 * WIDTH) }),
    ],
  ] as const)("%s", async (_, code, name, spoil) => {
    const published = small();
    spoil(published.state);
    await expect(loadFeatureEncoder(device, await store("spoilt", published))).rejects.toMatchObject({
      code,
      message: expect.stringContaining(name),
    });
  });

  test.each([
    [{ if_rope: true }, "CONFIG_UNSUPPORTED", "if_rope"],
    [{ rms_norm: false }, "CONFIG_UNSUPPORTED", "rms_norm"],
    [{ if_cls_token: false }, "CONFIG_UNSUPPORTED", "if_cls_token"],
    [{ patch_size: 32 }, "INVALID_CONFIG", "patches"],
    [{ depth: "many" }, "INVALID_CONFIG", "depth"],
    [{ bimamba_type: "v3" }, "INVALID_CONFIG", "bimamba_type"],
    [{ model_type: "mamba" }, "MODEL_TYPE_UNKNOWN", "mamba"],
  ])("%j", async (change, code, name) => {
    const published = small();
    const path = await store("config", { ...published, config: { ...published.config, ...change } });
    await expect(loadFeatureEncoder(device, path)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(name),
    });
  });

  test("a head that is not asked for is not run; an encoder is no language model", async () => {
    const published = small();
    const path = await store("head", { ...published, config: { ...published.config, num_classes: 0 } });
    const encoder = await loadFeatureEncoder(device, path);
    const [result] = await encoder.encode([clipOf(published.elements)]);
    expect([result?.logits, result?.classToken.length]).toEqual([undefined, WIDTH]);
    encoder.close();
    await expect(loadCausalModel(device, path)).rejects.toMatchObject({
      code: "MODEL_TYPE_UNKNOWN",
      hint: expect.stringContaining("loadClipEncoder"),
    });
    expect(await inspectFeatureEncoder(path)).toMatchObject({ classes: 0 });
  });
});
