import { KraitError } from "@krait/core";
import { describe, expect, test } from "vitest";
import {
  abiHash,
  binary,
  capacityBytes,
  causalConv1d,
  concatenateRows,
  copy,
  differentiate,
  Expr,
  encode,
  frame,
  Graph,
  interpret,
  kernelOps,
  linear,
  mergeHeads,
  plan,
  product,
  rmsNorm,
  Sym,
  split,
  splitHeads,
  sum,
  trace,
  unary,
  type Value,
  verify,
} from "../src/index.js";

const code = (body: () => unknown): string => {
  try {
    body();
  } catch (error) {
    if (KraitError.is(error)) return error.code;
    throw error;
  }
  return "nothing was thrown";
};

describe("symbolic dimensions", () => {
  const T = new Sym("T", 100);
  const S = new Sym("S", 4);

  test("polynomials are canonical: the same sum in another order is equal", () => {
    const a = sum(product(3, T), S, 2);
    const b = sum(2, product(T, 2), S, T);
    expect(a.equals(b)).toBe(true);
    expect(a.equals(sum(a, 1))).toBe(false);
    expect(product(sum(T, 1), sum(T, -1)).equals(sum(product(T, T), -1))).toBe(true);
  });

  test("value and capacity come from the symbols", () => {
    const e = sum(product(3, T), S);
    expect(e.capacity).toBe(304);
    expect(e.evaluate((s) => (s === T ? 7 : 2))).toBe(23);
    expect(Expr.of(5).constant).toBe(5);
    expect(e.constant).toBeUndefined();
    expect(product(T, S).isAffine).toBe(false);
  });
});

describe("tracing", () => {
  const graphOf = () => {
    const g = new Graph("p");
    return { g, T: g.symbol("T", 10), S: g.symbol("S", 2) };
  };

  test("shapes that disagree are refused with the operand's name", () => {
    const { g, T } = graphOf();
    const x = g.input("x", "f32", [T, 8]);
    const weight = g.parameter("w", "f32", [9]);
    expect(code(() => rmsNorm({ x, weight }))).toBe("SHAPE_MISMATCH");
    expect(() => rmsNorm({ x, weight })).toThrow(/Expected shape \[D\] for rms_norm weight but received \[9\]/);
  });

  test("dtypes that disagree are refused", () => {
    const { g, T } = graphOf();
    const x = g.input("x", "bf16", [T, 8]);
    expect(code(() => rmsNorm({ x, weight: g.parameter("w", "bf16", [8]) }))).toBe("DTYPE_MISMATCH");
  });

  test("attributes out of range are refused", () => {
    const { g, T } = graphOf();
    const x = g.input("x", "f32", [T, 8]);
    expect(code(() => rmsNorm({ x, weight: g.parameter("w", "f32", [8]) }, { eps: -1 }))).toBe("INVALID_OPTION");
  });

  test("attributes that the record does not name are refused, with those it names", () => {
    const { g, T } = graphOf();
    const inputs = { x: g.input("x", "f32", [T, 8]), weight: g.parameter("w", "f32", [8]) };
    try {
      rmsNorm(inputs, { epsilon: 1e-5 } as object);
      expect.fail("an unknown attribute passed");
    } catch (error) {
      if (!KraitError.is(error)) throw error;
      expect(error.code).toBe("INVALID_OPTION");
      expect(error.message).toContain('"epsilon"');
      expect(error.hint).toMatch(/\beps\b/);
    }
    // An op without attributes takes none.
    const heads = splitHeads({ x: inputs.x }, { heads: 2 }).y;
    expect(code(() => mergeHeads({ x: heads }, { heads: 2 } as never))).toBe("INVALID_OPTION");
  });

  test("values of two programs do not mix", () => {
    const a = graphOf();
    const b = graphOf();
    const x = a.g.input("x", "f32", [a.T, 8]);
    expect(code(() => rmsNorm({ x, weight: b.g.parameter("w", "f32", [8]) }))).toBe("INVALID_OPERAND");
  });

  test("a state that was updated in place cannot be read through another view of it", () => {
    const build = (use: (pool: Value, update: (state: Value) => void, view: () => Value) => void): Graph => {
      const { g, T, S } = graphOf();
      const pool = g.state("tail", "f32", [2, 24]);
      const x = g.input("x", "f32", [T, 8]);
      const cuSeqlens = g.cuSeqlens("cuSeqlens", S, T);
      const stateIndex = g.slots("slots", S, 2);
      const weight = g.parameter("w", "f32", [8, 4]);
      const update = (state: Value) => void causalConv1d({ x, weight, cuSeqlens, state, stateIndex });
      use(pool, update, () => splitHeads({ x: pool }, { heads: 3 }).y);
      return g;
    };
    const programs = [
      build((_, update, view) => {
        const [a, b] = [view(), view()];
        update(a);
        update(b);
      }),
      build((pool, update, view) => {
        update(view());
        unary({ x: pool }, { kind: "silu" });
      }),
    ];
    for (const program of programs) expect(code(() => verify(program))).toBe("INVALID_PROGRAM");
    expect(() => verify(build((_, update, view) => update(view())))).not.toThrow();
  });

  test("a state that was updated in place cannot be read again in its old version", () => {
    const { g, T, S } = graphOf();
    const state = g.state("tail", "f32", [2, 3, 8]);
    const cuSeqlens = g.cuSeqlens("cuSeqlens", S, T);
    const stateIndex = g.slots("slots", S, 2);
    const weight = g.parameter("w", "f32", [8, 4]);
    const first = causalConv1d({ x: g.input("x", "f32", [T, 8]), weight, cuSeqlens, state, stateIndex });
    const again = causalConv1d({ x: first.y, weight, cuSeqlens, state, stateIndex });
    g.output("y", again.y);
    expect(code(() => verify(g))).toBe("INVALID_PROGRAM");
    const { g: h, T: T2, S: S2 } = graphOf();
    const pool = h.state("tail", "f32", [2, 3, 8]);
    const borders = h.cuSeqlens("cuSeqlens", S2, T2);
    const slots = h.slots("slots", S2, 2);
    const w = h.parameter("w", "f32", [8, 4]);
    const one = causalConv1d({
      x: h.input("x", "f32", [T2, 8]),
      weight: w,
      cuSeqlens: borders,
      state: pool,
      stateIndex: slots,
    });
    const two = causalConv1d({ x: one.y, weight: w, cuSeqlens: borders, state: one.state, stateIndex: slots });
    h.output("y", two.y);
    expect(() => verify(h)).not.toThrow();
  });

  test("outputs are computed values: inputs and views need a copy", () => {
    const { g, T } = graphOf();
    const x = g.input("x", "f32", [T, 8]);
    expect(code(() => g.output("y", x))).toBe("INVALID_OUTPUT");
    const [left] = split(x, [3, 5]);
    expect(code(() => g.output("y", left!))).toBe("INVALID_OUTPUT");
    g.output("y", copy(left!));
    expect(() => verify(g)).not.toThrow();
  });

  test("framing derives its length per sequence, not from the total", () => {
    const g = new Graph("frames");
    const T = g.symbol("T", 100);
    const S = g.symbol("S", 3);
    const x = g.input("x", "f32", [T]);
    const framed = frame({ x, cuSeqlens: g.cuSeqlens("cuSeqlens", S, T) }, { size: 4, hop: 2 });
    g.output("y", framed.y);
    g.output("borders", framed.cuSeqlens);
    verify(g);
    // Lengths 3 (no whole frame), 7 (two frames), 4 (one).
    const data = Float64Array.from({ length: 14 }, (_, i) => i);
    const { outputs } = interpret(g, { T: 14, S: 3 }, { x: data, cuSeqlens: [0, 3, 10, 14] });
    expect([...outputs.borders!.data]).toEqual([0, 0, 2, 3]);
    expect([...outputs.y!.data]).toEqual([3, 4, 5, 6, 5, 6, 7, 8, 10, 11, 12, 13]);
  });
});

describe("planning", () => {
  test("values alive together never overlap, whatever the program", () => {
    let seed = 1;
    const random = (n: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 4294967296) * n);
    };
    for (let round = 0; round < 50; round++) {
      const g = new Graph("random");
      const T = g.symbol("T", 1 + random(50));
      const D = 1 + random(40);
      const pool: Value[] = [g.input("a", "f32", [T, D]), g.input("b", "f32", [T, D])];
      for (let i = 0; i < 20; i++) {
        const a = pool[random(pool.length)]!;
        const b = pool[random(pool.length)]!;
        pool.push(random(2) ? binary({ a, b }, { kind: "add" }).y : unary({ x: a }, { kind: "silu" }).y);
      }
      g.output("y", pool.at(-1)!);
      const { offsets, arenaBytes } = plan(g);
      const lifetime = (v: Value) => {
        const uses = g.nodes.flatMap((n, i) => (Object.values(n.inputs).includes(v) ? [i] : []));
        const made = v.producer ? g.nodes.indexOf(v.producer) : -1;
        return [made, Math.max(made, ...uses, v.binding?.kind === "output" ? g.nodes.length : -1)] as const;
      };
      const placed = [...offsets].map(([v, from]) => ({ v, from, to: from + capacityBytes(v), life: lifetime(v) }));
      for (const a of placed) {
        expect(a.from % 256).toBe(0);
        expect(a.to).toBeLessThanOrEqual(arenaBytes);
        for (const b of placed) {
          if (a === b || a.life[1] < b.life[0] || b.life[1] < a.life[0]) continue;
          expect(a.to <= b.from || b.to <= a.from, `${a.v} and ${b.v}`).toBe(true);
        }
      }
    }
  });

  test("what a norm of a few tokens reads is still there when the op behind it writes", () => {
    const weight = (g: Graph, name: string, shape: number[]) => g.parameter(name, "f32", shape);
    const disjoint = (tokens: number) => {
      const g = new Graph("norm");
      const x = unary({ x: g.input("x", "f32", [tokens, 64]) }, { kind: "silu" }).y;
      const { y } = rmsNorm({ x, weight: weight(g, "scale", [64]) });
      const behind = linear({ x: y, weight: weight(g, "w", [64, 64]) }).y;
      g.output("y", unary({ x: behind }, { kind: "silu" }).y);
      const { offsets } = plan(g);
      const [read, written] = [offsets.get(x)!, offsets.get(behind)!];
      return Math.abs(read - written) >= tokens * 64 * 4;
    };
    expect(disjoint(8)).toBe(true);
    // A long run does not pay for it.
    expect(disjoint(10_000)).toBe(false);
  });

  test("a long chain reuses memory: the arena does not grow with its length", () => {
    const chain = (n: number) => {
      const g = new Graph("chain");
      let x = g.input("x", "f32", [g.symbol("T", 1000), 64]);
      for (let i = 0; i < n; i++) x = unary({ x }, { kind: "silu" }).y;
      g.output("y", x);
      return plan(g).arenaBytes;
    };
    expect(chain(40)).toBe(chain(4));
  });
});

describe("encoding", () => {
  const small = () =>
    trace("small", (g) => {
      const T = g.symbol("T", 5);
      const x = g.input("x", "f32", [T, 4]);
      g.output("y", linear({ x, weight: g.parameter("w", "f32", [3, 4]) }, { activation: "silu" }).y);
    });

  test("the same program gives the same bytes, another program others", () => {
    const bytes = (g: Graph) => Buffer.from(encode(plan(g)).bytes).toString("hex");
    expect(bytes(small())).toBe(bytes(small()));
    const other = trace("other", (g) => {
      const x = g.input("x", "f32", [g.symbol("T", 6), 4]);
      g.output("y", linear({ x, weight: g.parameter("w", "f32", [3, 4]) }, { activation: "silu" }).y);
    });
    expect(bytes(other)).not.toBe(bytes(small()));
  });

  test("every op with kernels has its number by name order, and the hash is a SHA-256", () => {
    const names = kernelOps.map((o) => o.name);
    expect([...names].sort()).toEqual(names);
    expect(abiHash).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe("differentiating", () => {
  test("sums and products follow the product rule, against finite differences", () => {
    const g = new Graph("product");
    const shape = [3, 2];
    const a = g.input("a", "f32", shape);
    const b = g.input("b", "f32", shape);
    const y = binary({ a: binary({ a, b }, { kind: "mul" }).y, b: a }, { kind: "add" }).y; // a·b + a
    const seed = g.input("seed", "f32", shape);
    const [da, db] = differentiate(g, y, seed, [a, b]);
    g.output("y", y);
    g.output("da", da!);
    g.output("db", db!);
    verify(g);
    const values = { a: [1, -2, 0.5, 3, 4, -1], b: [2, 1, -1, 0.25, 3, 5], seed: [1, 2, -1, 0.5, 1, 1] };
    const { outputs } = interpret(g, {}, values);
    const loss = (v: typeof values) => {
      const { data } = interpret(g, {}, v).outputs.y!;
      return data.reduce((sum, x, i) => sum + x * v.seed[i]!, 0);
    };
    for (const name of ["a", "b"] as const) {
      for (let i = 0; i < 6; i++) {
        const shifted = (h: number) => ({ ...values, [name]: values[name].map((v, j) => (i === j ? v + h : v)) });
        const numeric = (loss(shifted(1e-5)) - loss(shifted(-1e-5))) / 2e-5;
        expect(outputs[`d${name}`]!.data[i]).toBeCloseTo(numeric, 6);
      }
    }
  });

  test("an op without a gradient rule throws NO_GRADIENT and names the op", () => {
    const g = new Graph("norm");
    const x = g.input("x", "f32", [2, 4]);
    const { y } = rmsNorm({ x, weight: g.parameter("w", "f32", [4]) });
    const seed = g.input("seed", "f32", [2, 4]);
    expect(code(() => differentiate(g, y, seed, [x]))).toBe("NO_GRADIENT");
    expect(() => differentiate(g, y, seed, [x])).toThrow(/rms_norm/);
  });

  test("nothing is differentiated that no gradient reaches", () => {
    const g = new Graph("apart");
    const x = g.input("x", "f32", [2, 4]);
    const { y } = rmsNorm({ x, weight: g.parameter("w", "f32", [4]) });
    const z = binary({ a: x, b: x }, { kind: "add" }).y;
    const seed = g.input("seed", "f32", [2, 4]);
    expect(differentiate(g, z, seed, [y])).toEqual([undefined]);
  });
});

test("rows of several parts follow each other", () => {
  const g = new Graph("rows");
  const parts = [1, 2, 3].map((n) => g.input(`p${n}`, "f32", [n, 2]));
  g.output("y", concatenateRows(parts));
  const values = { p1: [1, 2], p2: [3, 4, 5, 6], p3: [7, 8, 9, 10, 11, 12] };
  expect([...interpret(g, {}, values).outputs.y!.data]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
});
