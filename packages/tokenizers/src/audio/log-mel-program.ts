import { frame, type Graph, linear, powerSpectrum, trace, unary } from "@krait/graph";
import { fftSize, frequencyBins, hopLength, melWeight, whisperWindow } from "./mel-weights.js";

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
    const window = graph.parameter("window", "f32", [fftSize]);
    const mel = graph.parameter("mel", "f32", [melBins, frequencyBins]);
    const frames = frame({ x: signal, cuSeqlens }, { size: fftSize, hop: hopLength }).y; // [F, 400]
    const spectrum = powerSpectrum({ x: frames, window }, { fftSize, frequencies: frequencyBins }).y; // [F, 201]
    const powers = linear({ x: spectrum, weight: mel }).y; // [F, melBins]
    graph.output("logMel", unary({ x: powers }, { kind: "log", low: 1e-10, scale: Math.LOG10E }).y);
  });
}

export function logMelParameters(melBins: number): Record<"window" | "mel", Float32Array> {
  return { window: whisperWindow(), mel: melWeight(melBins) };
}
