/** The definitions again, plainly, in float64: what the front ends are held against where no published output is at hand. */

/** Powers [frequencies] of a frame with zeros behind it. */
function powers(frame: ArrayLike<number>, fftSize: number, frequencies: number): Float64Array {
  return Float64Array.from({ length: frequencies }, (_, k) => {
    let re = 0;
    let im = 0;
    for (let n = 0; n < frame.length; n++) {
      re += frame[n]! * Math.cos((2 * Math.PI * k * n) / fftSize);
      im -= frame[n]! * Math.sin((2 * Math.PI * k * n) / fftSize);
    }
    return re * re + im * im;
  });
}

const windows = {
  hanning: (n: number, size: number) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / (size - 1)),
  povey: (n: number, size: number) => (0.5 - 0.5 * Math.cos((2 * Math.PI * n) / (size - 1))) ** 0.85,
  hamming: (n: number, size: number) => 0.54 - 0.46 * Math.cos((2 * Math.PI * n) / (size - 1)),
  rectangular: () => 1,
};

export interface PlainKaldi {
  bins: number;
  window: keyof typeof windows;
  rate?: number;
  gain?: number;
  low?: number;
  high?: number;
  preEmphasis?: number;
  removeDc?: boolean;
  snipEdges?: boolean;
}

/** torchaudio.compliance.kaldi.fbank, step by step. */
export function plainKaldi(x: Float32Array, options: PlainKaldi): Float64Array {
  const { bins, window, rate = 16000, gain = 1, low = 20, high = 0, preEmphasis = 0.97 } = options;
  const { removeDc = true, snipEdges = true } = options;
  const size = Math.floor(rate * 0.025 + 1e-6);
  const hop = Math.floor(rate * 0.01 + 1e-6);
  let fftSize = 1;
  while (fftSize < size) fftSize *= 2;
  let signal = Float64Array.from(x, (v) => v * gain);
  let count = signal.length < size ? 0 : 1 + Math.floor((signal.length - size) / hop);
  if (!snipEdges) {
    count = Math.floor((signal.length + Math.floor(hop / 2)) / hop);
    const pad = Math.floor(size / 2) - Math.floor(hop / 2);
    const turned = [...signal].reverse();
    signal = Float64Array.from([...turned.slice(-pad), ...signal, ...turned]);
  }
  const nyquist = rate / 2;
  const toMel = (hertz: number) => 1127 * Math.log(1 + hertz / 700);
  const from = toMel(low);
  const delta = (toMel(high > 0 ? high : nyquist + high) - from) / (bins + 1);
  const out: number[] = [];
  for (let f = 0; f < count; f++) {
    let frame = [...signal.subarray(f * hop, f * hop + size)];
    if (removeDc) {
      const mean = frame.reduce((a, b) => a + b) / size;
      frame = frame.map((v) => v - mean);
    }
    frame = frame.map((v, i) => v - preEmphasis * frame[Math.max(0, i - 1)]!);
    frame = frame.map((v, i) => v * windows[window](i, size));
    const spectrum = powers(frame, fftSize, fftSize / 2);
    for (let b = 0; b < bins; b++) {
      let energy = 0;
      for (let k = 0; k < spectrum.length; k++) {
        const m = toMel((rate / fftSize) * k);
        const up = (m - (from + b * delta)) / delta;
        const down = (from + (b + 2) * delta - m) / delta;
        energy += spectrum[k]! * Math.max(0, Math.min(up, down));
      }
      out.push(Math.log(Math.max(energy, 1.1920928955078125e-7)));
    }
  }
  return Float64Array.from(out);
}

/** Slaney's triangles of area 1, from his Auditory Toolbox by way of librosa. */
function slaney(bins: number, rate: number, fftSize: number): Float64Array[] {
  const hertz = (mel: number) => (mel < 15 ? (mel * 200) / 3 : 1000 * 6.4 ** ((mel - 15) / 27));
  const mel = (f: number) => (f < 1000 ? (f * 3) / 200 : 15 + (27 * Math.log(f / 1000)) / Math.log(6.4));
  const edge = (i: number) => hertz((i * mel(rate / 2)) / (bins + 1));
  return Array.from({ length: bins }, (_, b) =>
    Float64Array.from({ length: fftSize / 2 + 1 }, (_, k) => {
      const f = (k * rate) / fftSize;
      const up = (f - edge(b)) / (edge(b + 1) - edge(b));
      const down = (edge(b + 2) - f) / (edge(b + 2) - edge(b + 1));
      return (Math.max(0, Math.min(up, down)) * 2) / (edge(b + 2) - edge(b));
    }),
  );
}

/** NeMo's log-mel rows before they are normalised: the whole signal pre-emphasised, 512 samples around each 160th. */
export function plainParakeet(x: Float32Array, bins: number): Float64Array {
  const emphasised = Float64Array.from(x, (v, i) => (i === 0 ? v : v - 0.97 * x[i - 1]!));
  const filters = slaney(bins, 16000, 512);
  const out: number[] = [];
  for (let f = 0; f < Math.floor(x.length / 160); f++) {
    const frame = Float64Array.from({ length: 512 }, (_, n) => {
      const window = n < 56 || n >= 456 ? 0 : windows.hanning(n - 56, 400);
      return window * (emphasised[f * 160 - 256 + n] ?? 0);
    });
    const spectrum = powers(frame, 512, 257);
    for (const filter of filters)
      out.push(Math.log(filter.reduce((sum, w, k) => sum + w * spectrum[k]!, 0) + 2 ** -24));
  }
  return Float64Array.from(out);
}

/** ln of librosa.feature.melspectrogram, centred and mirrored. */
export function plainMel(x: Float32Array, bins: number, rate: number, fftSize: number, hop: number): Float64Array {
  const filters = slaney(bins, rate, fftSize);
  const at = (i: number) => x[i < 0 ? -i : i >= x.length ? 2 * (x.length - 1) - i : i]!;
  const out: number[] = [];
  for (let f = 0; f <= Math.floor(x.length / hop); f++) {
    const frame = Float64Array.from({ length: fftSize }, (_, n) => {
      return at(f * hop - fftSize / 2 + n) * (0.5 - 0.5 * Math.cos((2 * Math.PI * n) / fftSize));
    });
    const spectrum = powers(frame, fftSize, fftSize / 2 + 1);
    for (const filter of filters) {
      out.push(
        Math.log(
          Math.max(
            1e-10,
            filter.reduce((sum, w, k) => sum + w * spectrum[k]!, 0),
          ),
        ),
      );
    }
  }
  return Float64Array.from(out);
}

/** (x − mean) / (std + epsilon) per feature over the first `rows`, std with n − 1. */
export function plainStandard(x: Float64Array, bins: number, rows = x.length / bins, epsilon = 1e-5): Float64Array {
  const out = x.slice();
  for (let b = 0; b < bins; b++) {
    const column = Array.from({ length: rows }, (_, f) => x[f * bins + b]!);
    const mean = column.reduce((a, v) => a + v, 0) / rows;
    const std = rows < 2 ? 0 : Math.sqrt(column.reduce((a, v) => a + (v - mean) ** 2, 0) / (rows - 1));
    for (let f = 0; f < x.length / bins; f++) out[f * bins + b] = (x[f * bins + b]! - mean) / (std + epsilon);
  }
  return out;
}
