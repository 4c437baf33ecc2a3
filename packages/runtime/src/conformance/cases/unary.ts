import { unaryKinds } from "@krait/graph";
import { defineCases, type OpCase } from "../cases.js";

/** Where each function has its bends and tails; a relative error sees small results only where all are small. */
const ranges: Record<(typeof unaryKinds)[number], [low: number, high: number][]> = {
  identity: [[-1e6, 1e6]],
  silu: [
    [-6, 6],
    [-60, -5],
    [-100, 100],
  ],
  gelu: [
    [-5, 5],
    [-0.01, 0.01],
    [-30, 30],
  ],
  gelu_tanh: [
    [-5, 5],
    [-0.01, 0.01],
    [-30, 30],
  ],
  sigmoid: [
    [-6, 6],
    [-60, -20],
    [-100, 100],
  ],
  softplus: [
    [-6, 6],
    [-60, -15],
    [15, 25],
    [-100, 100],
  ],
  tanh: [
    [-3, 3],
    [-0.01, 0.01],
    [-100, 100],
  ],
  relu: [[-1, 1]],
  relu2: [[-3, 3]],
  exp: [
    [-3, 3],
    [-80, -60],
    [60, 80],
  ],
  log: [
    [0.5, 2],
    [1e-10, 1e-3],
    [1e3, 1e30],
  ],
  square: [[-10, 10]],
};

export default defineCases("unary", ({ random, sizes }) => {
  const shapes: OpCase[] = [0, ...sizes].flatMap((T) =>
    [1, 33, 128].flatMap((D) => [
      {
        name: `identity T=${T} D=${D}`,
        symbols: { T },
        attributes: { kind: "identity" },
        inputs: { x: random([T, D]) },
      },
      {
        name: `silu T=${T} D=${D} wide`,
        symbols: { T },
        attributes: { kind: "silu" },
        inputs: { x: random([T, D], "normal") },
        wide: ["x"],
      },
    ]),
  );
  const kinds: OpCase[] = unaryKinds.flatMap((kind) =>
    ranges[kind].map(([low, high]) => ({
      name: `${kind} over [${low}, ${high}]`,
      symbols: { T: 37 },
      attributes: { kind },
      inputs: { x: random([37, 51], { low, high }) },
    })),
  );
  const affine: OpCase[] = unaryKinds.map((kind) => ({
    name: `${kind} with low, scale and shift`,
    symbols: { T: 5 },
    attributes: { kind, low: 0.25, scale: -1.5, shift: 3, outDtype: "f32" },
    inputs: { x: random([5, 67], { low: -1, high: 2 }) },
  }));
  return [...shapes, ...kinds, ...affine];
});
