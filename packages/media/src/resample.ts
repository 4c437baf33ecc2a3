/**
 * Windowed-sinc resampling by a rational ratio (Smith, "Digital Audio Resampling"; the same filter as torchaudio's
 * `sinc_interp_hann`): y[m] = (b / from) · Σ x[n] · sinc(b·τ) · cos²(π·b·τ / 2z), τ = n/from − m/to seconds,
 * b = 0.99 · min(from, to) hertz, over |b·τ| < z zero crossings; the signal is zero outside. The length is ⌈n · to / from⌉.
 */
const zeroCrossings = 64;
const rolloff = 0.99;
/** Filters are kept per phase up to this many coefficients, computed anew beyond (odd rates such as 44,101 Hz). */
const maxTableEntries = 2 ** 20;

/**
 * Fills `output`: output i is Σ filters[p · taps + k] · signal[b + k], where (p, b) begin as `phase` and `base` and p + b · up goes on by
 * `down` per output; samples outside the signal are zero. @krait/runtime has one that is native.
 */
export type Polyphase = (
  signal: Float32Array,
  filters: Float64Array,
  output: Float32Array,
  at: { up: number; down: number; phase: number; base: number },
) => void;

/**
 * Resamples a stream chunk by chunk; any cutting gives the same samples, bit for bit. With `polyphase` the sums are made by it
 * where filters are kept: equal but for the order in which float64 numbers are added.
 */
export class Resampler {
  readonly #up: number;
  readonly #down: number;
  readonly #bandwidth: number;
  readonly #reach: number;
  readonly #taps: number;
  readonly #table: (Float64Array | undefined)[] | undefined;
  readonly #polyphase: { run: Polyphase; filters: Float64Array } | undefined;
  /** Input from index `#tailStart` on; earlier samples can no longer matter. */
  #tail: Float32Array = new Float32Array(0);
  #tailStart = 0;
  #received = 0;
  #produced = 0;

  /** Rates in hertz, whole numbers. */
  constructor(from: number, to: number, { polyphase }: { polyphase?: Polyphase | undefined } = {}) {
    const divisor = gcd(from, to);
    this.#down = from / divisor;
    this.#up = to / divisor;
    // In units of the input period from here on.
    this.#bandwidth = (rolloff * Math.min(this.#up, this.#down)) / this.#down;
    this.#reach = Math.ceil(zeroCrossings / this.#bandwidth);
    this.#taps = 2 * this.#reach + 2;
    if (this.#up * this.#taps > maxTableEntries) return;
    this.#table = new Array(this.#up);
    if (polyphase === undefined) return;
    // Zeros behind each filter, so that whole vectors are multiplied.
    const row = Math.ceil(this.#taps / 8) * 8;
    const filters = new Float64Array(this.#up * row);
    for (let phase = 0; phase < this.#up; phase++) filters.set(this.#makeFilter(phase), phase * row);
    this.#polyphase = { run: polyphase, filters };
  }

  push(samples: Float32Array): Float32Array {
    const joined = new Float32Array(this.#tail.length + samples.length);
    joined.set(this.#tail);
    joined.set(samples, this.#tail.length);
    this.#received += samples.length;
    // Output m needs input up to ⌊m·down/up⌋ + reach + 1.
    const ready = Math.max(0, Math.ceil(((this.#received - this.#reach - 1) * this.#up) / this.#down));
    const out = this.#produce(joined, ready);
    const keepFrom = Math.max(this.#tailStart, Math.floor((this.#produced * this.#down) / this.#up) - this.#reach);
    const drop = Math.min(keepFrom - this.#tailStart, joined.length);
    this.#tail = joined.slice(drop);
    this.#tailStart += drop;
    return out;
  }

  /** The samples that waited for more input. The resampler is used up afterwards. */
  flush(): Float32Array {
    return this.#produce(this.#tail, Math.ceil((this.#received * this.#up) / this.#down));
  }

  #produce(input: Float32Array, until: number): Float32Array {
    const out = new Float32Array(Math.max(0, until - this.#produced));
    const first = this.#produced;
    if (this.#polyphase !== undefined && out.length > 0) {
      const { run, filters } = this.#polyphase;
      const [up, down] = [this.#up, this.#down];
      const phase = (first * down) % up;
      const base = (first * down - phase) / up - this.#reach - this.#tailStart;
      run(input, filters, out, { up, down, phase, base });
      this.#produced = first + out.length;
      return out;
    }
    for (let i = 0; i < out.length; i++) {
      const position = (first + i) * this.#down;
      const phase = position % this.#up;
      const centre = (position - phase) / this.#up;
      const filter = this.#filter(phase);
      const base = centre - this.#reach - this.#tailStart;
      const from = Math.max(0, -base);
      const to = Math.min(filter.length, input.length - base);
      // Four sums at once: one alone waits for itself.
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      let k = from;
      for (; k + 4 <= to; k += 4) {
        a += filter[k]! * input[base + k]!;
        b += filter[k + 1]! * input[base + k + 1]!;
        c += filter[k + 2]! * input[base + k + 2]!;
        d += filter[k + 3]! * input[base + k + 3]!;
      }
      for (; k < to; k++) a += filter[k]! * input[base + k]!;
      out[i] = a + b + (c + d);
    }
    this.#produced = first + out.length;
    return out;
  }

  /** Coefficients for inputs centre − reach … centre + reach + 1. */
  #filter(phase: number): Float64Array {
    const kept = this.#table?.[phase];
    if (kept !== undefined) return kept;
    const filter = this.#makeFilter(phase);
    if (this.#table !== undefined) this.#table[phase] = filter;
    return filter;
  }

  #makeFilter(phase: number): Float64Array {
    const filter = new Float64Array(this.#taps);
    for (let k = 0; k < filter.length; k++) {
      const t = this.#bandwidth * (k - this.#reach - phase / this.#up);
      if (Math.abs(t) >= zeroCrossings) continue;
      const window = Math.cos((Math.PI * t) / (2 * zeroCrossings)) ** 2;
      filter[k] = this.#bandwidth * window * (t === 0 ? 1 : Math.sin(Math.PI * t) / (Math.PI * t));
    }
    return filter;
  }
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
