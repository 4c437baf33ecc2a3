import { defineCases } from "../cases.js";

// Window, transform: published front ends', every radix alone and mixed, primes, odd lengths (which have no halves), the smallest.
const transforms = [
  [400, 400],
  [400, 512],
  [480, 480],
  [1, 1],
  [1, 2],
  [3, 3],
  [5, 8],
  [30, 30],
  [49, 98],
  [101, 202],
  [127, 127],
  [225, 225],
  [1000, 1024],
  [9, 64],
  [77, 5000],
] as const;

export default defineCases("power_spectrum", ({ sizes, random }) => {
  const shaped = (removeMean: boolean, preEmphasis: number) => ({ removeMean, preEmphasis });
  return [
    ...sizes.map((F) => ({
      name: `F=${F}`,
      symbols: { F },
      attributes: { fftSize: 400, frequencies: 201 },
      inputs: { x: random([F, 400]), window: random([400]) },
      wide: F % 2 === 1 ? ["x"] : [],
    })),
    ...transforms.map(([size, fftSize]) => ({
      name: `${size} samples, a transform of ${fftSize}`,
      symbols: { F: 11 },
      attributes: { fftSize, frequencies: Math.floor(fftSize / 2) + 1 },
      inputs: { x: random([11, size]), window: random([size]) },
    })),
    ...[shaped(true, 0), shaped(false, 0.97), shaped(true, 0.97)].map((shape) => ({
      name: `Kaldi's frames, mean ${shape.removeMean}, pre-emphasis ${shape.preEmphasis}`,
      symbols: { F: 19 },
      attributes: { fftSize: 512, frequencies: 256, ...shape },
      inputs: { x: random([19, 400], { low: -0.4, high: 1 }), window: random([400], { low: 0, high: 1 }) },
    })),
    {
      name: "fewer frequencies than there are",
      symbols: { F: 9 },
      attributes: { fftSize: 240, frequencies: 7 },
      inputs: { x: random([9, 239]), window: random([239]) },
    },
  ];
});
