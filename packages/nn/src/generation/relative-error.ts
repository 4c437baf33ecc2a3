/** ‖got − want‖ / ‖want‖ over parts that come one after the other. */
export class RelativeError {
  private difference = 0;
  private norm = 0;

  /**
   * @param want the whole of what is wanted; `got` is the part from `at` on
   * @returns where the next part begins
   */
  add(got: Float32Array, want: Float32Array, at: number): number {
    for (let i = 0; i < got.length; i++) {
      this.difference += (got[i]! - want[at + i]!) ** 2;
      this.norm += want[at + i]! ** 2;
    }
    return at + got.length;
  }

  get value(): number {
    return Math.sqrt(this.difference / (this.norm || 1));
  }
}
