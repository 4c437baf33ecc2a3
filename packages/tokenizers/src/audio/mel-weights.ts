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

/**
 * Triangles [melBins, 201] from 0 to 8000 Hz, evenly spaced in mel, straight in hertz, each of area 1 (Slaney's norm).
 * librosa.filters.mel(sr=16000, n_fft=400, n_mels=melBins) in float64.
 */
export function melFilterbank(melBins: number): Float64Array {
  const nyquist = melSampleRate / 2;
  const top = hertzToMel(nyquist);
  const edge = Array.from({ length: melBins + 2 }, (_, i) => melToHertz((top * i) / (melBins + 1)));
  const weights = new Float64Array(melBins * frequencyBins);
  for (let m = 0; m < melBins; m++) {
    const [low, centre, high] = [edge[m]!, edge[m + 1]!, edge[m + 2]!];
    const height = 2 / (high - low);
    for (let k = 0; k < frequencyBins; k++) {
      const hertz = (k * melSampleRate) / fftSize;
      const slope = Math.min((hertz - low) / (centre - low), (high - hertz) / (high - centre));
      weights[m * frequencyBins + k] = height * Math.max(0, slope);
    }
  }
  return weights;
}

/**
 * The filterbank over squared real and squared imaginary parts side by side, [melBins, 402]: |X|² · Wᵀ = [re², im²] · [W, W]ᵀ.
 * All terms are positive, so that nothing cancels, and the powers need no pass of their own.
 */
export function melWeight(melBins: number): Float32Array {
  const filters = melFilterbank(melBins);
  const weight = new Float32Array(melBins * 2 * frequencyBins);
  for (let m = 0; m < melBins; m++) {
    const row = filters.subarray(m * frequencyBins, (m + 1) * frequencyBins);
    weight.set(row, 2 * m * frequencyBins);
    weight.set(row, (2 * m + 1) * frequencyBins);
  }
  return weight;
}

/** The Fourier transform of a windowed frame as a matrix [402, 400]: cosines, then sines, times the periodic Hann window. */
export function fourierWeight(): Float32Array {
  const weight = new Float32Array(2 * frequencyBins * fftSize);
  for (let n = 0; n < fftSize; n++) {
    const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / fftSize);
    for (let k = 0; k < frequencyBins; k++) {
      const angle = (2 * Math.PI * ((k * n) % fftSize)) / fftSize;
      weight[k * fftSize + n] = hann * Math.cos(angle);
      weight[(frequencyBins + k) * fftSize + n] = hann * Math.sin(angle);
    }
  }
  return weight;
}
