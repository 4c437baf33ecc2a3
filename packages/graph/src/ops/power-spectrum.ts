import { z } from "zod";
import { product } from "../expr.js";
import { defineOp, tensor } from "../op.js";

export const powerSpectrum = defineOp("power_spectrum", {
  doc: "y[f, q] = |Σ_n w[n] · p[f, n] · e^(−2πi·q·n / fftSize)|² for q < frequencies, rows shorter than fftSize ending in zeros. p is the row less its mean where removeMean, then p[n] − preEmphasis · p[n − 1], the first element its own predecessor (as Kaldi does within a frame).",
  attributes: z.object({
    fftSize: z.int().positive().max(65536),
    frequencies: z.int().positive(),
    removeMean: z.boolean().default(false),
    preEmphasis: z.number().min(0).max(1).default(0),
  }),
  inputs: { x: tensor("F K", "f32"), window: tensor("K", "f32") },
  outputs: { y: tensor("F Q", "f32") },
  dims: (_, { frequencies }) => ({ Q: frequencies }),
  rules: [
    { rule: "K >= 1 && K <= fftSize && fftSize <= 65536", expects: "rows no longer than a transform of at most 65536" },
    { rule: "Q == frequencies && Q >= 1 && Q <= fftSize / 2 + 1", expects: "the frequencies of a real transform" },
  ],
  // A real transform by halves: 2.5 · n · log2 n.
  cost: ({ F, K, Q }, { fftSize }) => ({
    flops: product(Math.ceil(2.5 * fftSize * Math.log2(fftSize + 1)), F!),
    bytes: product(4, F!, K!).plus(product(4, F!, Q!)),
  }),
  reference: ({ x, window }, { fftSize, frequencies, removeMean, preEmphasis }) => {
    const [F, K] = x.shape as [number, number];
    const y = new Float64Array(F * frequencies);
    const cos = Float64Array.from({ length: fftSize }, (_, i) => Math.cos((2 * Math.PI * i) / fftSize));
    const sin = Float64Array.from({ length: fftSize }, (_, i) => Math.sin((2 * Math.PI * i) / fftSize));
    for (let f = 0; f < F; f++) {
      const row = x.data.subarray(f * K, (f + 1) * K);
      const mean = removeMean ? row.reduce((sum, v) => sum + v, 0) / K : 0;
      const centred = row.map((v) => v - mean);
      const shaped = centred.map((v, n) => (v - preEmphasis * centred[Math.max(0, n - 1)]!) * window.data[n]!);
      for (let q = 0; q < frequencies; q++) {
        let [re, im] = [0, 0];
        for (let n = 0; n < K; n++) {
          re += shaped[n]! * cos[(q * n) % fftSize]!;
          im += shaped[n]! * sin[(q * n) % fftSize]!;
        }
        y[f * frequencies + q] = re * re + im * im;
      }
    }
    return { y: { shape: [F, frequencies], data: y } };
  },
});
