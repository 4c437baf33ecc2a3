import type { Take } from "./mixers.js";
import { activations, add, columns, linear, map, type Rows, scaled, times, zeros } from "./rows.js";

export interface Heads {
  heads: number;
  keyHeads: number;
  headDim: number;
  scale: number;
  rope?: { dims: number; base: number } | undefined;
}

/** Turns the first `dims` of every head, pairs (i, i + dims/2), by the token's position. Su et al. 2021. */
function turned(x: Rows, headDim: number, { dims, base }: { dims: number; base: number }): Rows {
  const y = { ...x, data: x.data.slice() };
  const half = dims / 2;
  for (let t = 0; t < x.n; t++) {
    for (let from = t * x.width; from < (t + 1) * x.width; from += headDim) {
      for (let i = 0; i < half; i++) {
        const angle = t * base ** (-i / half);
        const [a, b] = [x.data[from + i]!, x.data[from + i + half]!];
        y.data[from + i] = a * Math.cos(angle) - b * Math.sin(angle);
        y.data[from + i + half] = b * Math.cos(angle) + a * Math.sin(angle);
      }
    }
  }
  return y;
}

/** Causal attention of q [n, heads · headDim] over k and v [n, keyHeads · headDim]. */
export function attend(q: Rows, k: Rows, v: Rows, o: Heads): Rows {
  const { heads, keyHeads, headDim } = o;
  const [queries, keys] = o.rope ? [turned(q, headDim, o.rope), turned(k, headDim, o.rope)] : [q, k];
  const y = zeros(q.n, heads * headDim);
  for (let h = 0; h < heads; h++) {
    const from = Math.floor(h / (heads / keyHeads)) * headDim;
    for (let t = 0; t < q.n; t++) {
      const scores = Array.from({ length: t + 1 }, (_, j) => {
        let sum = 0;
        for (let i = 0; i < headDim; i++)
          sum += queries.data[t * q.width + h * headDim + i]! * keys.data[j * k.width + from + i]!;
        return sum * o.scale;
      });
      const most = Math.max(...scores);
      const weights = scores.map((s) => Math.exp(s - most));
      const total = weights.reduce((a, b) => a + b, 0);
      for (let j = 0; j <= t; j++) {
        for (let i = 0; i < headDim; i++)
          y.data[t * y.width + h * headDim + i]! += (weights[j]! / total) * v.data[j * v.width + from + i]!;
      }
    }
  }
  return y;
}

export interface Attention extends Heads {
  prefix: string;
  bias: boolean;
  keyMultiplier?: number;
}

/** q_proj, k_proj, v_proj, o_proj. */
export function attention(take: Take, x: Rows, o: Attention): Rows {
  const project = (input: Rows, name: string, out: number) =>
    linear(
      input,
      take(`${o.prefix}.${name}_proj.weight`, out, input.width),
      o.bias ? take(`${o.prefix}.${name}_proj.bias`, out) : undefined,
    );
  const q = project(x, "q", o.heads * o.headDim);
  const k = scaled(project(x, "k", o.keyHeads * o.headDim), o.keyMultiplier ?? 1);
  const v = project(x, "v", o.keyHeads * o.headDim);
  return project(attend(q, k, v, o), "o", x.width);
}

export interface Mlp {
  prefix: string;
  hidden: number;
  activation: string;
  bias: boolean;
  /** Of what is gated. */
  gateMultiplier?: number;
}

/** down(f(gate(x)) · up(x)). */
export function gatedMlp(take: Take, x: Rows, o: Mlp): Rows {
  const project = (input: Rows, name: string, out: number) =>
    linear(
      input,
      take(`${o.prefix}.${name}_proj.weight`, out, input.width),
      o.bias ? take(`${o.prefix}.${name}_proj.bias`, out) : undefined,
    );
  const gate = map(scaled(project(x, "gate", o.hidden), o.gateMultiplier ?? 1), activations[o.activation]!);
  return project(times(gate, project(x, "up", o.hidden)), "down", x.width);
}

/** f over the first half of the columns, times the second half. */
export function halves(x: Rows, activation: string): Rows {
  const half = x.width / 2;
  return times(map(columns(x, 0, half), activations[activation]!), columns(x, half, x.width));
}

/** Which experts a token goes to and with what weight; `margin` is how far the worst chosen is from the best of the others. */
export interface Routed {
  experts: number[];
  weights: number[];
  margin: number;
}

export interface Routing {
  topK: number;
  scoring: "softmax" | "chosen" | "sigmoid";
  normalize?: boolean;
  scale?: number;
  correction?: Float64Array;
  groups?: number;
  keptGroups?: number;
}

const descending = (values: readonly number[], among: readonly number[]) =>
  [...among].sort((a, b) => values[b]! - values[a]!);

export function route(logits: readonly number[], o: Routing): Routed {
  const all = logits.map((_, i) => i);
  const most = Math.max(...logits);
  const softened = (among: readonly number[]) => {
    const total = among.reduce((sum, i) => sum + Math.exp(logits[i]! - most), 0);
    return (i: number) => Math.exp(logits[i]! - most) / total;
  };
  const score = o.scoring === "sigmoid" ? (i: number) => activations.sigmoid!(logits[i]!) : softened(all);
  const choice = all.map((i) => score(i) + (o.correction ? o.correction[i]! : 0));
  let open: readonly number[] = all;
  let margin = Number.POSITIVE_INFINITY;
  if (o.groups && o.groups > 1) {
    const size = all.length / o.groups;
    const members = Array.from({ length: o.groups }, (_, g) => all.slice(g * size, (g + 1) * size));
    const worth = members.map((m) =>
      descending(choice, m)
        .slice(0, 2)
        .reduce((sum, i) => sum + choice[i]!, 0),
    );
    const order = descending(worth, [...worth.keys()]);
    const kept = o.keptGroups!;
    if (kept < o.groups) margin = worth[order[kept - 1]!]! - worth[order[kept]!]!;
    open = order.slice(0, kept).flatMap((g) => members[g]!);
  }
  const order = descending(choice, open);
  if (o.topK < order.length) margin = Math.min(margin, choice[order[o.topK - 1]!]! - choice[order[o.topK]!]!);
  const experts = order.slice(0, o.topK);
  const weigh = o.scoring === "chosen" ? softened(experts) : score;
  const raw = experts.map(weigh);
  const total = o.normalize ? raw.reduce((a, b) => a + b, 0) + 1e-20 : 1;
  return { experts, weights: raw.map((w) => (w / total) * (o.scale ?? 1)), margin };
}

/** Every token through the experts it is sent to. */
export function mixture(
  x: Rows,
  logits: Rows,
  routing: Routing,
  expert: (rows: Rows, e: number) => Rows,
  onMargin: (margin: number) => void,
): Rows {
  const out = zeros(x.n, x.width);
  // Checkpoints hold experts that no token was sent to as well.
  for (let e = 0; e < logits.width; e++) expert(zeros(0, x.width), e);
  for (let t = 0; t < x.n; t++) {
    const { experts, weights, margin } = route(
      [...logits.data.subarray(t * logits.width, (t + 1) * logits.width)],
      routing,
    );
    onMargin(margin);
    let sum = zeros(1, x.width);
    const row = { n: 1, width: x.width, data: x.data.slice(t * x.width, (t + 1) * x.width) };
    experts.forEach((e, i) => {
      sum = add(sum, scaled(expert(row, e), weights[i]!));
    });
    out.data.set(sum.data, t * x.width);
  }
  return out;
}
