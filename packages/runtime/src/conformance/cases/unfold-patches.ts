import { defineCases } from "../cases.js";

const shapes = [
  [1, 1, 4, 4, 2],
  [3, 2, 6, 9, 3],
  [2, 1, 5, 7, 1],
  [1, 2, 32, 48, 16],
  [0, 2, 4, 4, 2],
] as const;

export default defineCases("unfold_patches", ({ random, integers, exact }) =>
  shapes.flatMap(([V, F, Y, X, patch]) =>
    [true, false].map((isBytes) => ({
      name: `[${V}, ${F}, ${Y}, ${X}, 3] patch=${patch} ${isBytes ? "u8" : "f32"}`,
      symbols: { V },
      attributes: { patch, ...(isBytes ? {} : { outDtype: "f32" }) },
      inputs: {
        // The harness takes whole numbers below 256 for bytes.
        frames: isBytes ? integers([V, F, Y, X, 3], 0, 256) : random([V, F, Y, X, 3]),
        scale: exact([3], [1 / 58.4, 1 / 57.1, 1 / 57.4]),
        shift: exact([3], [-2.1, -2, -1.8]),
      },
    })),
  ),
);
