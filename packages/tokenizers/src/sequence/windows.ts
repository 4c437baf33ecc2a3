/**
 * The window of `seconds` that holds a time: the k with k·seconds <= time < (k+1)·seconds in floating point, so that a
 * token never lands on the wrong side of the very border it is compared with.
 */
export function windowOf(time: number, seconds: number): number {
  let k = Math.floor(time / seconds);
  while (time >= (k + 1) * seconds) k++;
  while (time < k * seconds) k--;
  return k + 0; // never -0
}

/** First index in [from, to) of an ascending column whose value is >= `bound`; `to` when there is none. */
export function lowerBound(column: Float64Array, from: number, to: number, bound: number): number {
  let low = from;
  let high = to;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (column[middle]! < bound) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** First index in [from, to) of an ascending column whose value is > `bound`; `to` when there is none. */
export function upperBound(column: Float64Array, from: number, to: number, bound: number): number {
  let low = from;
  let high = to;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (column[middle]! <= bound) low = middle + 1;
    else high = middle;
  }
  return low;
}
