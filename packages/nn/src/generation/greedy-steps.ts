/** Greedy steps of a few sequences, several under way at once: the device chooses each id and reads it in the next step. */
export class GreedySteps {
  private readonly underWay: Promise<Int32Array>[] = [];

  /**
   * @param step begins one, behind those that have begun
   * @param most that may be under way
   */
  constructor(
    private readonly step: () => Promise<Int32Array>,
    private readonly most: number,
  ) {}

  /**
   * The ids that the oldest step under way chose, one for each sequence.
   *
   * @param wanted steps that may still be needed, this one included: no more are begun
   */
  async next(wanted: number): Promise<Int32Array> {
    while (this.underWay.length < Math.max(1, Math.min(this.most, wanted))) {
      const run = this.step();
      // Whoever asks for it hears of its failure; one that nobody asks for any more must not end the process.
      run.catch(() => {});
      this.underWay.push(run);
    }
    return this.underWay.shift()!;
  }

  /** Waits for the steps under way. */
  async drain(): Promise<Int32Array[]> {
    return Promise.all(this.underWay.splice(0));
  }
}
