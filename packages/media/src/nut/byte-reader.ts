/** Gives the next bytes of a pipe, or undefined at its end. */
export type PullBytes = () => Promise<Uint8Array | undefined>;

/** Reads exact numbers of bytes from a pipe. Holds at most one chunk of the pipe plus what a small `fill` needs. */
export class ByteReader {
  #chunk: Uint8Array = new Uint8Array(0);
  #offset = 0;
  #ended = false;

  constructor(private readonly pull: PullBytes) {}

  get buffered(): number {
    return this.#chunk.length - this.#offset;
  }

  /** Makes at least `count` bytes visible in one piece, or all that are left. Meant for headers: `count` is small. */
  async fill(count: number): Promise<Uint8Array> {
    while (this.buffered < count && !this.#ended) {
      const next = await this.pull();
      if (next === undefined) {
        this.#ended = true;
      } else if (this.buffered === 0) {
        this.#chunk = next;
        this.#offset = 0;
      } else {
        const joined = new Uint8Array(this.buffered + next.length);
        joined.set(this.#chunk.subarray(this.#offset));
        joined.set(next, this.buffered);
        this.#chunk = joined;
        this.#offset = 0;
      }
    }
    return this.#chunk.subarray(this.#offset);
  }

  skip(count: number): void {
    this.#offset += count;
  }

  /** Copies the next bytes into `target`, straight from the pipe's chunks. False when the pipe ends first. */
  async readInto(target: Uint8Array): Promise<boolean> {
    let done = 0;
    while (done < target.length) {
      if (this.buffered === 0 && (await this.fill(1)).length === 0) return false;
      const take = Math.min(this.buffered, target.length - done);
      target.set(this.#chunk.subarray(this.#offset, this.#offset + take), done);
      this.#offset += take;
      done += take;
    }
    return true;
  }
}
