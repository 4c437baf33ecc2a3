import { causalConv, columns, linear, map, type Rows, rmsNorm, silu, softplus, times, zeros } from "./rows.js";

/** Gives the published tensor of a name, which must have this shape. */
export type Take = (name: string, ...shape: number[]) => Float64Array;

const optional = (present: boolean, take: Take, name: string, n: number) => (present ? take(name, n) : undefined);

export interface Mamba1 {
  prefix: string;
  inner: number;
  states: number;
  conv: number;
  rank: number;
  convBias: boolean;
  bias: boolean;
  /** Norms on what Δ, B and C are made from: their eps, and the names of their weights where they have some. */
  norms?: { eps: number; names?: readonly [dt: string, b: string, c: string] };
}

/** Mamba-1, token by token, arXiv 2312.00752. */
export function mamba1(take: Take, x: Rows, o: Mamba1): Rows {
  const { inner, states, rank } = o;
  const own: Take = (name, ...shape) => take(`${o.prefix}.${name}`, ...shape);
  const projected = linear(
    x,
    own("in_proj.weight", 2 * inner, x.width),
    optional(o.bias, own, "in_proj.bias", 2 * inner),
  );
  const gate = columns(projected, inner, 2 * inner);
  const convolved = causalConv(
    columns(projected, 0, inner),
    own("conv1d.weight", inner, 1, o.conv),
    o.conv,
    optional(o.convBias, own, "conv1d.bias", inner),
  );
  const u = map(convolved, silu);
  const selected = linear(u, own("x_proj.weight", rank + 2 * states, inner));
  const borders = [0, rank, rank + states, rank + 2 * states];
  const [low, B, C] = [0, 1, 2].map((i) => {
    const part = columns(selected, borders[i]!, borders[i + 1]!);
    if (!o.norms) return part;
    const name = o.norms.names?.[i];
    return rmsNorm(part, name ? own(`${name}.weight`, part.width) : undefined, o.norms.eps);
  }) as [Rows, Rows, Rows];
  const dt = map(linear(low, own("dt_proj.weight", inner, rank), own("dt_proj.bias", inner)), softplus);
  const A = own("A_log", inner, states).map((v) => -Math.exp(v));
  const D = own("D", inner);
  const h = new Float64Array(inner * states);
  const y = zeros(x.n, inner);
  for (let t = 0; t < x.n; t++) {
    for (let c = 0; c < inner; c++) {
      const step = dt.data[t * inner + c]!;
      const input = u.data[t * inner + c]!;
      let sum = D[c]! * input;
      for (let s = 0; s < states; s++) {
        const i = c * states + s;
        h[i] = Math.exp(step * A[i]!) * h[i]! + step * B.data[t * states + s]! * input;
        sum += h[i]! * C.data[t * states + s]!;
      }
      y.data[t * inner + c] = sum;
    }
  }
  return linear(
    times(y, map(gate, silu)),
    own("out_proj.weight", x.width, inner),
    optional(o.bias, own, "out_proj.bias", x.width),
  );
}

export interface Mamba2 {
  prefix: string;
  heads: number;
  headDim: number;
  groups: number;
  states: number;
  conv: number;
  convBias: boolean;
  inBias: boolean;
  outBias: boolean;
  /** Least and most Δ. */
  limit: readonly [number, number];
  /** Without it the gate only multiplies. */
  norm?: { eps: number; groups: number; beforeGate?: boolean };
  /** Multiply what is projected: z, x, B, C, Δ. */
  multipliers?: readonly number[];
  /** D for each channel of each head. */
  channelD?: boolean;
}

/** Mamba-2, token by token, arXiv 2405.21060. */
export function mamba2(take: Take, x: Rows, o: Mamba2): Rows {
  const { heads, headDim, groups, states } = o;
  const inner = heads * headDim;
  const bc = groups * states;
  const widths = [inner, inner, bc, bc, heads];
  const total = widths.reduce((a, b) => a + b, 0);
  const own: Take = (name, ...shape) => take(`${o.prefix}.${name}`, ...shape);
  const factors = widths.flatMap((width, i) => Array<number>(width).fill(o.multipliers?.[i] ?? 1));
  const projected = map(
    linear(x, own("in_proj.weight", total, x.width), optional(o.inBias, own, "in_proj.bias", total)),
    (v, c) => v * factors[c]!,
  );
  const gate = map(columns(projected, 0, inner), silu);
  const channels = inner + 2 * bc;
  const xBC = map(
    causalConv(
      columns(projected, inner, inner + channels),
      own("conv1d.weight", channels, 1, o.conv),
      o.conv,
      optional(o.convBias, own, "conv1d.bias", channels),
    ),
    silu,
  );
  const raw = columns(projected, inner + channels, total);
  const dtBias = own("dt_bias", heads);
  const A = own("A_log", heads).map((v) => -Math.exp(v));
  const D = own("D", o.channelD ? inner : heads);
  const state = new Float64Array(inner * states);
  const y = zeros(x.n, inner);
  for (let t = 0; t < x.n; t++) {
    const row = xBC.data.subarray(t * channels, (t + 1) * channels);
    for (let h = 0; h < heads; h++) {
      const step = Math.min(o.limit[1], Math.max(o.limit[0], softplus(raw.data[t * heads + h]! + dtBias[h]!)));
      const decay = Math.exp(step * A[h]!);
      const group = Math.floor(h / (heads / groups));
      const B = row.subarray(inner + group * states);
      const C = row.subarray(inner + bc + group * states);
      for (let p = 0; p < headDim; p++) {
        const c = h * headDim + p;
        let sum = D[o.channelD ? c : h]! * row[c]!;
        for (let s = 0; s < states; s++) {
          const i = c * states + s;
          state[i] = decay * state[i]! + step * row[c]! * B[s]!;
          sum += state[i]! * C[s]!;
        }
        y.data[t * inner + c] = sum;
      }
    }
  }
  return linear(
    gated(own, y, gate, o),
    own("out_proj.weight", x.width, inner),
    optional(o.outBias, own, "out_proj.bias", x.width),
  );
}

function gated(own: Take, y: Rows, gate: Rows, { norm }: Mamba2): Rows {
  if (!norm) return times(y, gate);
  const weight = own("norm.weight", y.width);
  if (norm.beforeGate) return times(rmsNorm(y, weight, norm.eps, norm.groups), gate);
  return rmsNorm(times(y, gate), weight, norm.eps, norm.groups);
}
