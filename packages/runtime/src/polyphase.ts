import { fromNative } from "./from-native.js";
import { loadAddon, type PolyphaseAt } from "./native.js";

/**
 * Fills `output` with samples of `signal` under `filters` [up, taps] that take turns, in float64, on the calling thread: about a
 * millisecond for two seconds of sound. What `decode` takes as `audio.polyphase`.
 *
 * Throws what `loadAddon` throws, `UsageError` (INVALID_RUN).
 */
export function polyphase(signal: Float32Array, filters: Float64Array, output: Float32Array, at: PolyphaseAt): void {
  const addon = loadAddon();
  try {
    addon.polyphase(signal, filters, output, at);
  } catch (error) {
    throw fromNative(error, "resampling");
  }
}
