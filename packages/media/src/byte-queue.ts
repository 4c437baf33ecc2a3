import { Writable } from "node:stream";

/**
 * The end of a pipe that is read by asking. Takes chunks without copying until `limit` bytes wait, then lets the writer
 * wait instead.
 */
export class ByteQueue extends Writable {
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  #finished = false;
  #accept: (() => void) | undefined;
  #wake: (() => void) | undefined;

  constructor(private readonly limit: number) {
    // emitClose off: fluent-ffmpeg takes a closed target for a consumer that left, and reports a race as an error.
    super({ highWaterMark: 1, emitClose: false });
  }

  /** Bytes that wait here. */
  get buffered(): number {
    return this.#bytes + this.writableLength;
  }

  /** Whether the writer ended and everything was shifted out. */
  get drained(): boolean {
    return this.#finished && this.#chunks.length === 0;
  }

  shift(): Uint8Array | undefined {
    const chunk = this.#chunks.shift();
    if (chunk === undefined) return undefined;
    this.#bytes -= chunk.length;
    const accept = this.#accept;
    if (this.#bytes < this.limit && accept !== undefined) {
      this.#accept = undefined;
      accept();
    }
    return chunk;
  }

  /** Resolves at the next chunk, at the end, or when `interrupt` is called. One waiter at a time. */
  change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  interrupt(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** Forgets everything and takes no more. */
  discard(): void {
    this.#chunks = [];
    this.#bytes = 0;
    this.destroy();
  }

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.limit) done();
    else this.#accept = done;
    this.interrupt();
  }

  override _final(done: () => void): void {
    this.#finished = true;
    this.interrupt();
    done();
  }
}
