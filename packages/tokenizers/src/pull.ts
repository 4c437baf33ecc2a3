import { AbortedError, throwIfAborted } from "@krait/core";

/**
 * The items of `parts`, asked for one at a time. Rejects with `AbortedError` as soon as the signal fires, also while an item is
 * awaited; a source that is stuck is told to stop but not waited for.
 */
export async function* pull<T>(
  parts: AsyncIterable<T>,
  signal: AbortSignal | undefined,
  what: string,
): AsyncGenerator<T, void, undefined> {
  throwIfAborted(signal, what);
  const iterator = parts[Symbol.asyncIterator]();
  let done = false;
  let waiting = false;
  // One promise per item: racing them all against a single one would keep every reaction until the end.
  let reject: (reason: unknown) => void = () => undefined;
  const next = () =>
    new Promise<IteratorResult<T>>((resolve, refuse) => {
      reject = refuse;
      iterator.next().then(resolve, (error) => {
        done = true;
        refuse(error);
      });
    });
  const onAbort = () => reject(new AbortedError(what, signal?.reason));
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      throwIfAborted(signal, what);
      waiting = true;
      const result = await next();
      waiting = false;
      if (result.done) {
        done = true;
        return;
      }
      yield result.value;
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    if (!done) {
      const closing = Promise.resolve(iterator.return?.()).catch(() => undefined);
      if (!waiting) await closing;
    }
  }
}
