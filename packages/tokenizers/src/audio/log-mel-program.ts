import { frame, type Graph, linear, trace, unary } from "@krait/graph";
import { fftSize, fourierWeight, frequencyBins, hopLength, melWeight } from "./mel-weights.js";

/** Samples that `frames` frames reach over. */
export function spanOf(frames: number): number {
  return (frames - 1) * hopLength + fftSize;
}

/**
 * Samples to log10 mel powers, not yet normalised: `signal` [T] of one sequence (borders `cuSeqlens` [0, T]) to `logMel`
 * [frames, melBins], with the parameters of `logMelParameters`.
 */
export function logMelProgram(melBins: number, chunkFrames: number): Graph {
  return trace(`log_mel_${melBins}`, (graph) => {
    const T = graph.symbol("T", spanOf(chunkFrames));
    const signal = graph.input("signal", "f32", [T]);
    const cuSeqlens = graph.cuSeqlens("cuSeqlens", 1, T);
    const fourier = graph.parameter("fourier", "f32", [2 * frequencyBins, fftSize]);
    const mel = graph.parameter("mel", "f32", [melBins, 2 * frequencyBins]);
    const frames = frame({ x: signal, cuSeqlens }, { size: fftSize, hop: hopLength }).y; // [F, 400]
    const spectrum = linear({ x: frames, weight: fourier }).y; // [F, 402]
    const squares = unary({ x: spectrum }, { kind: "square" }).y;
    const powers = linear({ x: squares, weight: mel }).y; // [F, melBins]
    graph.output("logMel", unary({ x: powers }, { kind: "log", low: 1e-10, scale: Math.LOG10E }).y);
  });
}

export function logMelParameters(melBins: number): Record<"fourier" | "mel", Float32Array> {
  return { fourier: fourierWeight(), mel: melWeight(melBins) };
}
