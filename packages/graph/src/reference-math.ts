/** erf in float64 to 1e-15: a Maclaurin series near zero, a continued fraction (Lentz) in the tails. */
export function erf(x: number): number {
  const z = Math.abs(x);
  if (z > 6) return Math.sign(x);
  if (z < 2) {
    let term = z;
    let sum = z;
    for (let n = 1; n < 100 && Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= (-z * z) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let k = 120; k >= 1; k--) fraction = k / 2 / (z + fraction);
  return Math.sign(x) * (1 - Math.exp(-z * z) / (Math.sqrt(Math.PI) * (z + fraction)));
}

/** Token `i` of a walk over [from, to): from its first token on, or, reversed, from its last. */
export const walked = (from: number, to: number, i: number, reverse: boolean): number =>
  reverse ? to - 1 - i : from + i;

/** Runs `body(sequence, from, to)` for each packed sequence. */
export function eachSequence(cuSeqlens: ArrayLike<number>, body: (s: number, from: number, to: number) => void): void {
  for (let s = 0; s + 1 < cuSeqlens.length; s++) body(s, cuSeqlens[s]!, cuSeqlens[s + 1]!);
}
