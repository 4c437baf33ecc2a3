/** Rows of equal width in float64, and the plain loops that every published layer is made of. */
export interface Rows {
  n: number;
  width: number;
  data: Float64Array;
}

export const zeros = (n: number, width: number): Rows => ({ n, width, data: new Float64Array(n * width) });

export const silu = (x: number) => x / (1 + Math.exp(-x));
/** The logarithm of 1 + eˣ; linear above 20, as in PyTorch. */
export const softplus = (x: number) => (x > 20 ? x : Math.log1p(Math.exp(x)));
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** Abramowitz and Stegun 7.1.26 is too coarse here: the series near zero, the continued fraction beyond. */
function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = a;
    let sum = a;
    for (let k = 1; k < 80; k++) {
      term *= (-a * a) / k;
      sum += term / (2 * k + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = a;
  for (let k = 60; k > 0; k--) fraction = a + k / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / (fraction * Math.sqrt(Math.PI)));
}

const geluTanh = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

/** The activations by the names that configs give them. */
export const activations: Readonly<Record<string, (x: number) => number>> = {
  silu,
  swish: silu,
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  relu: (x) => Math.max(0, x),
  relu2: (x) => Math.max(0, x) ** 2,
  sigmoid,
};

export function map(x: Rows, f: (value: number, column: number) => number): Rows {
  return { ...x, data: x.data.map((v, i) => f(v, i % x.width)) };
}

/** x · wᵀ + bias, w [out, in] row by row. */
export function linear(x: Rows, w: Float64Array, bias?: Float64Array): Rows {
  const out = w.length / x.width;
  const y = zeros(x.n, out);
  for (let t = 0; t < x.n; t++) {
    for (let o = 0; o < out; o++) {
      let sum = bias ? bias[o]! : 0;
      for (let i = 0; i < x.width; i++) sum += x.data[t * x.width + i]! * w[o * x.width + i]!;
      y.data[t * out + o] = sum;
    }
  }
  return y;
}

/** The columns [from, to). */
export function columns(x: Rows, from: number, to: number): Rows {
  const y = zeros(x.n, to - from);
  for (let t = 0; t < x.n; t++) y.data.set(x.data.subarray(t * x.width + from, t * x.width + to), t * y.width);
  return y;
}

/** Rows of `a` with those of `b` behind them. */
export function beside(a: Rows, b: Rows): Rows {
  const y = zeros(a.n, a.width + b.width);
  for (let t = 0; t < a.n; t++) {
    y.data.set(a.data.subarray(t * a.width, (t + 1) * a.width), t * y.width);
    y.data.set(b.data.subarray(t * b.width, (t + 1) * b.width), t * y.width + a.width);
  }
  return y;
}

export const add = (a: Rows, b: Rows): Rows => ({ ...a, data: a.data.map((v, i) => v + b.data[i]!) });
export const times = (a: Rows, b: Rows): Rows => ({ ...a, data: a.data.map((v, i) => v * b.data[i]!) });
export const scaled = (a: Rows, factor: number): Rows => ({ ...a, data: a.data.map((v) => v * factor) });

/** Each of `groups` equal parts of a row divided by its root mean square, then times weight. */
export function rmsNorm(x: Rows, weight: Float64Array | undefined, eps: number, groups = 1): Rows {
  const y = zeros(x.n, x.width);
  const part = x.width / groups;
  for (let from = 0; from < x.data.length; from += part) {
    let square = 0;
    for (let i = from; i < from + part; i++) square += x.data[i]! ** 2;
    const factor = 1 / Math.sqrt(square / part + eps);
    for (let i = from; i < from + part; i++) y.data[i] = x.data[i]! * factor * (weight ? weight[i % x.width]! : 1);
  }
  return y;
}

/** Each channel the weighted sum of its own last `width` values; w [channels, width], the newest last. */
export function causalConv(x: Rows, w: Float64Array, width: number, bias?: Float64Array): Rows {
  const y = zeros(x.n, x.width);
  for (let t = 0; t < x.n; t++) {
    for (let c = 0; c < x.width; c++) {
      let sum = bias ? bias[c]! : 0;
      for (let k = Math.max(0, width - 1 - t); k < width; k++)
        sum += w[c * width + k]! * x.data[(t - width + 1 + k) * x.width + c]!;
      y.data[t * x.width + c] = sum;
    }
  }
  return y;
}
