import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fromBf16, fromF16, toBf16 } from "@krait/core";
import { type TensorToWrite, writeSafetensors } from "@krait/formats";
import type { Take } from "./mixers.js";
import type { Config } from "./model.js";

export type Stored = "f32" | "bf16" | "f16";

/** Weights of a model that are drawn when they are first asked for: the reference itself says which there are. */
export class DrawnWeights {
  readonly tensors = new Map<string, { shape: readonly number[]; data: Float64Array; bits: TensorToWrite["data"] }>();

  constructor(
    private readonly random: () => number,
    readonly dtype: Stored,
  ) {}

  readonly take: Take = (name, ...shape) => {
    const known = this.tensors.get(name);
    if (known) {
      if (known.shape.join() !== shape.join()) throw new Error(`${name} is [${known.shape}] here and [${shape}] there`);
      return known.data;
    }
    const n = shape.reduce((a, b) => a * b, 1);
    const values = Float64Array.from({ length: n }, () => drawn(name, shape, this.random));
    const bits = encode(values, this.dtype);
    const data = Float64Array.from(bits as ArrayLike<number>, decoders[this.dtype]);
    this.tensors.set(name, { shape, data, bits });
    return data;
  };

  /** A folder with config.json and the weights in `shards` files. */
  async save(folder: string, config: Config, shards: number): Promise<string> {
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "config.json"), configText(config));
    const names = [...this.tensors.keys()];
    const fileOf = (i: number) =>
      shards === 1 ? "model.safetensors" : `model-0000${(i % shards) + 1}-of-0000${shards}.safetensors`;
    const files = new Map<string, Record<string, TensorToWrite>>();
    names.forEach((name, i) => {
      const { shape, bits } = this.tensors.get(name)!;
      const held = files.get(fileOf(i)) ?? {};
      held[name] = { dtype: this.dtype, shape, data: bits };
      files.set(fileOf(i), held);
    });
    for (const [file, tensors] of files) await writeSafetensors(join(folder, file), tensors, { format: "pt" });
    if (shards > 1) {
      const weight_map = Object.fromEntries(names.map((name, i) => [name, fileOf(i)]));
      await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map }));
    }
    return folder;
  }
}

/** As Python writes it: infinite bounds of Δ are a bare word. */
const configText = (config: Config) => JSON.stringify(config, null, 2).replaceAll("1000000000", "Infinity");

/** Values that keep activations near one: norms and D around one, decays over two decades, matrices by their width. */
function drawn(name: string, shape: readonly number[], random: () => number): number {
  const x = 2 * random() - 1;
  if (/norm\w*\.weight$|layernorm\.weight$|(^|\.)D$/.test(name)) return 1 + 0.4 * x;
  if (name.endsWith("A_log")) return 1.2 + 1.6 * x;
  if (/dt_bias$|dt_proj\.bias$/.test(name)) return -1.5 + 2.5 * x;
  if (name.endsWith("correction_bias")) return 0.15 + 0.15 * x;
  if (shape.length === 1) return 0.4 * x;
  if (name.includes("conv1d")) return x;
  if (/embed/.test(name)) return 1.7 * x;
  return x * Math.sqrt(3 / shape.at(-1)!);
}

const decoders: Readonly<Record<Stored, (bits: number) => number>> = { f32: (x) => x, bf16: fromBf16, f16: fromF16 };

function encode(values: Float64Array, dtype: Stored): TensorToWrite["data"] {
  if (dtype === "f32") return Float32Array.from(values);
  return Uint16Array.from(values, dtype === "bf16" ? toBf16 : nearestF16);
}

/** Bits of the nearest half-precision number; subnormal ones go to zero. */
function nearestF16(value: number): number {
  const sign = value < 0 ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size < 2 ** -14) return sign;
  const exponent = Math.floor(Math.log2(size));
  const mantissa = Math.round((size / 2 ** exponent - 1) * 1024);
  return sign | (((exponent + 15) << 10) + mantissa);
}
