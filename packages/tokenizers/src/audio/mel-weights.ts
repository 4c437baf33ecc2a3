import { windowValues } from "./windows.js";

/**
 * Samples per frame and per transform, samples between frames, hertz: fixed by the definition (openai/whisper, whisper/audio.py).
 */
export const fftSize = 400;
export const hopLength = 160;
export const melSampleRate = 16000;
/** Frequencies of a real transform: 0, 40, … 8000 Hz. */
export const frequencyBins = fftSize / 2 + 1;

// Slaney's scale (Auditory Toolbox; librosa's `htk=False`): linear to 1000 Hz, which is 15 mel, logarithmic above.
const linearHertz = 200 / 3;
const breakHertz = 1000;
const breakMel = breakHertz / linearHertz;
const logStep = Math.log(6.4) / 27;

export function hertzToMel(hertz: number): number {
  return hertz < breakHertz ? hertz / linearHertz : breakMel + Math.log(hertz / breakHertz) / logStep;
}

export function melToHertz(mel: number): number {
  return mel < breakMel ? mel * linearHertz : breakHertz * Math.exp(logStep * (mel - breakMel));
}

export interface SlaneyShape {
  melBins: number;
  /** Hertz. */
  sampleRate: number;
  fftSize: number;
  lowHertz?: number;
  highHertz?: number;
}

/**
 * Triangles [melBins, ⌊fftSize / 2⌋ + 1] from `lowHertz` to `highHertz` (0 and half the rate by default), evenly spaced in mel, straight in hertz,
 * each of area 1 (Slaney's norm). librosa.filters.mel in float64.
 */
export function slaneyTriangles({
  melBins,
  sampleRate,
  fftSize,
  lowHertz = 0,
  highHertz = sampleRate / 2,
}: SlaneyShape) {
  const frequencies = Math.floor(fftSize / 2) + 1;
  const [bottom, top] = [hertzToMel(lowHertz), hertzToMel(highHertz)];
  const edge = Array.from({ length: melBins + 2 }, (_, i) => melToHertz(bottom + ((top - bottom) * i) / (melBins + 1)));
  const weights = new Float64Array(melBins * frequencies);
  for (let m = 0; m < melBins; m++) {
    const [low, centre, high] = [edge[m]!, edge[m + 1]!, edge[m + 2]!];
    const height = 2 / (high - low);
    for (let k = 0; k < frequencies; k++) {
      const hertz = (k * sampleRate) / fftSize;
      const slope = Math.min((hertz - low) / (centre - low), (high - hertz) / (high - centre));
      weights[m * frequencies + k] = height * Math.max(0, slope);
    }
  }
  return weights;
}

/** Whisper's filters [melBins, 201]: 0 to 8000 Hz of 16 kHz, transforms of 400. */
export function melFilterbank(melBins: number): Float64Array {
  return slaneyTriangles({ melBins, sampleRate: melSampleRate, fftSize });
}

/** The filterbank as the weight of a `linear` over power spectra, [melBins, 201]. */
export function melWeight(melBins: number): Float32Array {
  return Float32Array.from(melFilterbank(melBins));
}

/** The periodic Hann window [400]. */
export function whisperWindow(): Float32Array {
  return Float32Array.from(windowValues("hanning", fftSize, "periodic"));
}
