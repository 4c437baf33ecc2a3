/** Lets text through until one of some strings appears, and holds back what may be the beginning of one. */
export class StopStrings {
  private held = "";
  private done = false;

  constructor(private readonly stops: readonly string[]) {}

  /** Whether one of the strings has come. */
  get found(): boolean {
    return this.done;
  }

  /** The text that is certain to be no part of a stop string. */
  push(text: string): string {
    if (this.done) return "";
    const all = this.held + text;
    const places = this.stops.map((stop) => all.indexOf(stop)).filter((at) => at >= 0);
    if (places.length > 0) {
      this.done = true;
      this.held = "";
      return all.slice(0, Math.min(...places));
    }
    const keep = Math.max(0, ...this.stops.map((stop) => overlap(all, stop)));
    this.held = all.slice(all.length - keep);
    return all.slice(0, all.length - keep);
  }

  /** What was held back, when nothing more comes. */
  end(): string {
    const rest = this.held;
    this.held = "";
    return this.done ? "" : rest;
  }
}

/** Length of the longest end of `text` that `stop` begins with. */
function overlap(text: string, stop: string): number {
  for (let n = Math.min(text.length, stop.length - 1); n > 0; n--) if (text.endsWith(stop.slice(0, n))) return n;
  return 0;
}
