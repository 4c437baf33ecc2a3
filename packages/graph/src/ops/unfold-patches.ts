import { z } from "zod";
import { product } from "../expr.js";
import { defineOp, outDtype, tensor } from "../op.js";

export const unfoldPatches = defineOp("unfold_patches", {
  doc: "Tubelets [V, frames, height, width, 3] to rows of patches, tokens in t, h, w order, columns in c, t, h, w order (as a Conv3d weight [D, C, t, p, p] flattens), each sample x · scale[c] + shift[c].",
  attributes: z.object({ patch: z.int().positive(), outDtype: outDtype() }),
  inputs: { frames: tensor("V F Y X 3", "P"), scale: tensor("3", "f32"), shift: tensor("3", "f32") },
  outputs: { y: tensor("R K", "O") },
  dtypes: ({ outDtype }) => ({ O: outDtype === "same" ? "f32" : outDtype }),
  rules: [
    { rule: "patch >= 1 && patch <= 65536 && Y % patch == 0 && X % patch == 0", expects: "frames of whole patches" },
    { rule: "R == V * (Y / patch) * (X / patch) && K == 3 * F * patch * patch", expects: "a row per patch" },
  ],
  dims: ({ V, F, Y, X }, { patch }) => ({
    R: product(V!, (Y!.constant! / patch) * (X!.constant! / patch)),
    K: product(3, F!, patch * patch),
  }),
  cost: ({ R, K }) => ({ flops: product(2, R!, K!), bytes: product(5, R!, K!) }),
  reference: ({ frames, scale, shift }, { patch: p }) => {
    const [V, F, Y, X] = frames.shape as [number, number, number, number, number];
    const [rows, columns] = [Y / p, X / p];
    const K = 3 * F * p * p;
    const data = new Float64Array(V * rows * columns * K);
    let at = 0;
    for (let v = 0; v < V; v++)
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c++)
          for (let channel = 0; channel < 3; channel++)
            for (let f = 0; f < F; f++)
              for (let y = 0; y < p; y++)
                for (let x = 0; x < p; x++) {
                  const pixel = (((v * F + f) * Y + r * p + y) * X + c * p + x) * 3 + channel;
                  data[at++] = frames.data[pixel]! * scale.data[channel]! + shift.data[channel]!;
                }
    return { y: { shape: [V * rows * columns, K], data } };
  },
});
