// Vim, VideoMamba and AuM written out in plain float64 loops after their published definitions, with tensors by their published names.
import { generator } from "@krait/runtime/conformance";

export interface Tensor {
  shape: number[];
  data: Float32Array;
}
export type State = Record<string, Tensor>;
/** Rows of numbers: [length][width]. */
type Rows = Float64Array[];

export interface MambaSizes {
  width: number;
  inner: number;
  rank: number;
  states: number;
  taps: number;
}

export function sizesOf(width: number, states: number): MambaSizes {
  return { width, inner: 2 * width, rank: Math.ceil(width / 16), states, taps: 4 };
}

/** Random tensors of the blocks, the final norm and a head. */
export function randomState(
  seed: number,
  depth: number,
  { width, inner, rank, states, taps }: MambaSizes,
  type: "none" | "v1" | "v2",
  others: Record<string, number[]>,
): State {
  const random = generator(seed);
  const state: State = {};
  const add = (name: string, shape: number[], low: number, high: number) => {
    const length = shape.reduce((a, b) => a * b, 1);
    state[name] = { shape, data: Float32Array.from({ length }, () => low + (high - low) * random()) };
  };
  for (const [name, shape] of Object.entries(others)) add(name, shape, -0.5, 0.5);
  for (let i = 0; i < depth; i++) {
    const layer = `layers.${i}`;
    add(`${layer}.norm.weight`, [width], 0.5, 1.5);
    add(`${layer}.mixer.in_proj.weight`, [2 * inner, width], -0.4, 0.4);
    add(`${layer}.mixer.out_proj.weight`, [width, inner], -0.4, 0.4);
    for (const mark of type === "v2" ? ["", "_b"] : [""]) {
      add(`${layer}.mixer.conv1d${mark}.weight`, [inner, 1, taps], -0.5, 0.5);
      add(`${layer}.mixer.conv1d${mark}.bias`, [inner], -0.5, 0.5);
      add(`${layer}.mixer.x_proj${mark}.weight`, [rank + 2 * states, inner], -0.3, 0.3);
      add(`${layer}.mixer.dt_proj${mark}.weight`, [inner, rank], -0.7, 0.7);
      add(`${layer}.mixer.dt_proj${mark}.bias`, [inner], -4, 0);
      add(`${layer}.mixer.D${mark}`, [inner], 0, 1);
    }
    add(`${layer}.mixer.A_log`, [inner, states], 0, 2);
    if (type !== "none") add(`${layer}.mixer.A_b_log`, [inner, states], 0, 2);
  }
  add("norm_f.weight", [width], 0.5, 1.5);
  return state;
}

const silu = (x: number) => x / (1 + Math.exp(-x));
const flip = (rows: Rows): Rows => [...rows].reverse();
const add = (a: Rows, b: Rows): Rows => a.map((row, t) => row.map((v, i) => v + b[t]![i]!));

/** x · weightᵀ (+ bias) */
export function project(x: Rows, weight: Tensor, bias?: Tensor): Rows {
  const [out, width] = weight.shape as [number, number];
  return x.map((row) =>
    Float64Array.from({ length: out }, (_, o) => {
      let sum = bias ? bias.data[o]! : 0;
      for (let i = 0; i < width; i++) sum += weight.data[o * width + i]! * row[i]!;
      return sum;
    }),
  );
}

function rmsNorm(x: Rows, weight: Tensor, eps: number): Rows {
  return x.map((row) => {
    const scale = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / row.length + eps);
    return row.map((v, i) => v * scale * weight.data[i]!);
  });
}

function convolve(x: Rows, weight: Tensor, bias: Tensor): Rows {
  const taps = weight.shape[2]!;
  return x.map((row, t) =>
    row.map((_, c) => {
      let sum = bias.data[c]!;
      for (let w = 0; w < taps; w++) sum += weight.data[c * taps + w]! * (x[t - taps + 1 + w]?.[c] ?? 0);
      return silu(sum);
    }),
  );
}

interface Selected {
  x: Rows;
  delta: Rows;
  B: Rows;
  C: Rows;
}

function select(x: Rows, state: State, prefix: string, mark: string, sizes: MambaSizes): Selected {
  const { rank, states } = sizes;
  const own = (name: string) => state[`${prefix}.${name.replace(/^[^.]+/, `$&${mark}`)}`]!;
  const mixed = convolve(x, own("conv1d.weight"), own("conv1d.bias"));
  const parts = project(mixed, own("x_proj.weight"));
  const raw = project(
    parts.map((row) => row.subarray(0, rank)),
    own("dt_proj.weight"),
    own("dt_proj.bias"),
  );
  return {
    x: mixed,
    delta: raw.map((row) => row.map((v) => Math.log1p(Math.exp(v)))),
    B: parts.map((row) => row.subarray(rank, rank + states)),
    C: parts.map((row) => row.subarray(rank + states)),
  };
}

function scan({ x, delta, B, C }: Selected, z: Rows, aLog: Tensor, D: Tensor): Rows {
  const states = aLog.shape[1]!;
  const h = new Float64Array(aLog.data.length);
  return x.map((row, t) =>
    row.map((value, c) => {
      let sum = D.data[c]! * value;
      for (let n = 0; n < states; n++) {
        const at = c * states + n;
        const decay = Math.exp(delta[t]![c]! * -Math.exp(aLog.data[at]!));
        h[at] = decay * h[at]! + delta[t]![c]! * value * B[t]![n]!;
        sum += h[at]! * C[t]![n]!;
      }
      return sum * silu(z[t]![c]!);
    }),
  );
}

export interface Mixer {
  sizes: MambaSizes;
  type: "none" | "v1" | "v2";
  divide: boolean;
}

function mixer(x: Rows, state: State, prefix: string, { sizes, type, divide }: Mixer): Rows {
  const { inner } = sizes;
  const of = (name: string) => state[`${prefix}.${name}`]!;
  const xz = project(x, of("in_proj.weight"));
  const [xs, z] = [xz.map((row) => row.subarray(0, inner)), xz.map((row) => row.subarray(inner))];
  const forward = select(xs, state, prefix, "", sizes);
  let out = scan(forward, z, of("A_log"), of("D"));
  if (type === "v1") {
    const flipped = { x: flip(forward.x), delta: flip(forward.delta), B: flip(forward.B), C: flip(forward.C) };
    out = add(out, flip(scan(flipped, flip(z), of("A_b_log"), of("D"))));
  }
  if (type === "v2") {
    const back = select(flip(xs), state, prefix, "_b", sizes);
    out = add(out, flip(scan(back, flip(z), of("A_b_log"), of("D_b"))));
    if (divide) out = out.map((row) => row.map((v) => v / 2));
  }
  return project(out, of("out_proj.weight"));
}

/** Add → norm → mixer for each block, then the final norm: all tokens. */
export function runBlocks(tokens: Rows, state: State, depth: number, how: Mixer, eps = 1e-5): Rows {
  let hidden = tokens;
  let residual: Rows | undefined;
  for (let i = 0; i < depth; i++) {
    residual = residual ? add(residual, hidden) : hidden;
    hidden = mixer(rmsNorm(residual, state[`layers.${i}.norm.weight`]!, eps), state, `layers.${i}.mixer`, how);
  }
  return rmsNorm(add(residual!, hidden), state["norm_f.weight"]!, eps);
}

/** A convolution with strides over at(frame, channel, row, column), and the size of its output. */
export function patchEmbed(
  state: State,
  at: (f: number, c: number, y: number, x: number) => number,
  extent: [number, number, number],
  strides: [number, number, number],
): { tokens: Rows; grid: [number, number, number] } {
  const { shape, data } = state["patch_embed.proj.weight"]!;
  const bias = state["patch_embed.proj.bias"]!.data;
  const [width, channels] = shape as [number, number];
  const [kt, kh, kw] = (shape.length === 5 ? shape.slice(2) : [1, ...shape.slice(2)]) as [number, number, number];
  const count = (i: 0 | 1 | 2, k: number) => Math.floor((extent[i] - k) / strides[i]) + 1;
  const grid: [number, number, number] = [count(0, kt), count(1, kh), count(2, kw)];
  const tokens: Rows = [];
  for (let f = 0; f < grid[0]; f++)
    for (let r = 0; r < grid[1]; r++)
      for (let c = 0; c < grid[2]; c++)
        tokens.push(
          Float64Array.from({ length: width }, (_, d) => {
            let sum = bias[d]!;
            for (let k = 0; k < channels; k++)
              for (let t = 0; t < kt; t++)
                for (let y = 0; y < kh; y++)
                  for (let x = 0; x < kw; x++)
                    sum +=
                      data[(((d * channels + k) * kt + t) * kh + y) * kw + x]! *
                      at(f * strides[0] + t, k, r * strides[1] + y, c * strides[2] + x);
            return sum;
          }),
        );
  return { tokens, grid };
}

/** Row i of a table [1, n, width]. */
export function tableRow({ shape, data }: Tensor, i: number): Float64Array {
  const width = shape[2]!;
  return Float64Array.from(data.subarray(i * width, (i + 1) * width));
}

export const sum = (a: Float64Array, b: Float64Array) => a.map((v, i) => v + b[i]!);
