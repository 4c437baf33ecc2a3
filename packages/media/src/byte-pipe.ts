import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";
import { AbortedError, expected, InputError, type Limits, throwIfAborted, UsageError } from "@krait/core";

/** Bytes that come one chunk after the other: a Node stream, a web stream, or any async iterable of chunks. */
export type ByteStream = Readable | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * A stream of bytes whose beginning can be looked at before it is read, once. What was looked at is kept until then; nothing else is.
 *
 * Reading throws `InputError` (MEDIA_STALLED when nothing comes for `limits.stallSeconds`, SOURCE_UNREADABLE when the stream fails),
 * `UsageError` (STREAM_CONSUMED), `AbortedError`.
 */
export class BytePipe {
  readonly #stream: Readable;
  #chunks: AsyncIterator<Uint8Array> | undefined;
  /** A chunk that was asked for and has not come. */
  #pending: Promise<IteratorResult<Uint8Array>> | undefined;
  #head: Uint8Array[] = [];
  #headBytes = 0;
  #ended = false;
  #taken = false;

  constructor(
    stream: ByteStream,
    readonly name: string,
  ) {
    this.#stream = toReadable(stream);
  }

  /** The first bytes: at least `bytes` of them unless the stream is shorter, and all that were looked at before. */
  async peek(bytes: number, limits: Limits, signal: AbortSignal | undefined): Promise<Uint8Array> {
    this.#refuseTaken();
    while (this.#headBytes < bytes && (await this.more(limits, signal))) {}
    if (this.#head.length > 1) this.#head = [Buffer.concat(this.#head)];
    return this.#head[0] ?? new Uint8Array(0);
  }

  /** Adds one chunk to what was looked at and returns it; undefined at the end. */
  async more(limits: Limits, signal: AbortSignal | undefined): Promise<Uint8Array | undefined> {
    const chunk = await this.#next(limits, signal);
    if (chunk === undefined) return undefined;
    this.#head.push(chunk);
    this.#headBytes += chunk.length;
    return chunk;
  }

  /** What was looked at so far. */
  get looked(): readonly Uint8Array[] {
    return this.#head;
  }

  /** All bytes from the first, once; not bounded by a stall, which the reader has to watch for. */
  read(): Readable {
    this.#refuseTaken();
    this.#taken = true;
    const self = this;
    async function* bytes() {
      for (let chunk = self.#head.shift(); chunk !== undefined; chunk = self.#head.shift()) yield chunk;
      while (!self.#ended) {
        const result = await self.#pull();
        if (result.done) return;
        yield result.value;
      }
    }
    return Readable.from(bytes(), { objectMode: false, highWaterMark: 2 ** 18 });
  }

  /** All bytes, which may be asked for again. Throws `InputError` (`code`) above `maxBytes`. */
  async readAll(maxBytes: number, code: string, limits: Limits, signal: AbortSignal | undefined): Promise<Uint8Array> {
    this.#refuseTaken();
    do {
      if (this.#headBytes <= maxBytes) continue;
      throw new InputError(expected(`at most ${maxBytes} bytes`, this.name, `${this.#headBytes} and more`), {
        code,
        hint: "Raise the limit if the stream is trusted.",
      });
    } while (await this.more(limits, signal));
    return this.peek(0, limits, signal);
  }

  /** Ends the stream. What waits for it is not waited for. */
  close(): void {
    this.#taken = true;
    this.#ended = true;
    this.#head = [];
    this.#stream.destroy();
  }

  async #next(limits: Limits, signal: AbortSignal | undefined): Promise<Uint8Array | undefined> {
    if (this.#ended) return undefined;
    throwIfAborted(signal, "reading");
    let timer: NodeJS.Timeout | undefined;
    let onAbort: (() => void) | undefined;
    const interrupted = new Promise<never>((_, reject) => {
      onAbort = () => reject(new AbortedError("reading", signal?.reason));
      signal?.addEventListener("abort", onAbort, { once: true });
      timer = setTimeout(() => reject(this.#stalled(limits.stallSeconds)), limits.stallSeconds * 1000);
    });
    try {
      const result = await Promise.race([this.#pull(), interrupted]);
      return result.done ? undefined : result.value;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort!);
    }
  }

  /** One chunk at a time: one that an interrupted wait has asked for is the next one's. */
  #pull(): Promise<IteratorResult<Uint8Array>> {
    this.#chunks ??= this.#stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    this.#pending ??= this.#chunks
      .next()
      .then(
        (result) => {
          if (result.done) this.#ended = true;
          else return { done: false as const, value: toBytes(result.value) };
          return { done: true as const, value: undefined };
        },
        (cause: unknown) => {
          this.#ended = true;
          throw new InputError(expected("a readable stream", this.name, (cause as Error)?.message ?? cause), {
            code: "SOURCE_UNREADABLE",
            hint: "The program or connection that the bytes come from failed.",
            cause,
          });
        },
      )
      .finally(() => {
        this.#pending = undefined;
      });
    // Nobody may be waiting when it fails.
    this.#pending.catch(() => {});
    return this.#pending;
  }

  #stalled(seconds: number): InputError {
    return new InputError(`Expected bytes from ${this.name} but received none for ${seconds} s`, {
      code: "MEDIA_STALLED",
      hint: "Check the program before the pipe, or raise limits.stallSeconds.",
    });
  }

  #refuseTaken(): void {
    if (!this.#taken) return;
    throw new UsageError(expected("a stream that was not read yet", this.name, "one that was"), {
      code: "STREAM_CONSUMED",
      hint: "A stream can be read once: save it to a file to read it again.",
    });
  }
}

const pipes = new WeakMap<object, BytePipe>();

/** The pipe of a stream; the same for the same stream, so that its pictures and its sound share one decoder. */
export function pipeOf(source: "-" | ByteStream): BytePipe {
  const stream = source === "-" ? process.stdin : source;
  let pipe = pipes.get(stream);
  if (!pipe) {
    pipe = new BytePipe(stream, source === "-" ? "standard input" : "the stream");
    pipes.set(stream, pipe);
  }
  return pipe;
}

/** Whether something is a stream that can be a source. */
export function isByteStream(value: unknown): value is ByteStream {
  if (typeof value !== "object" || value === null) return false;
  const { getReader, [Symbol.asyncIterator]: iterate } = value as Partial<ReadableStream> &
    Partial<AsyncIterable<unknown>>;
  return typeof iterate === "function" || typeof getReader === "function";
}

function toReadable(stream: ByteStream): Readable {
  if (stream instanceof Readable) return stream;
  if (Symbol.asyncIterator in stream) return Readable.from(stream as AsyncIterable<Uint8Array>);
  return Readable.fromWeb(stream as ReadableStream<Uint8Array>);
}

function toBytes(chunk: unknown): Uint8Array {
  if (chunk instanceof Uint8Array) return chunk;
  if (typeof chunk === "string") return Buffer.from(chunk);
  throw new UsageError(expected("chunks of bytes", "a stream as a source", chunk), {
    code: "INVALID_OPTION",
    hint: "Give a stream of Uint8Array or Buffer, not of objects.",
  });
}
