import { checkParity, type ParityOptions, type ParityReport } from "@krait/nn";
import { type DeviceOptions, openDevice } from "@krait/runtime";

/**
 * Holds a published model to the outputs of its reference implementation. On the CPU unless another device is asked for: it is the
 * one that every machine has, and it computes in float32.
 *
 * @param folder config.json and safetensors; not looked at where the golden file holds a layer
 * @param golden safetensors with `L{n}.input_ids`, `L{n}.logits`, `greedy.prompt` and `greedy.tokens`, or of one layer with
 * `param.*`, `L{n}.x` and `L{n}.y`
 * @throws InputError (GOLDEN_INVALID and what loading a model throws), EnvironmentError, AbortedError
 */
export async function parity(
  folder: string,
  golden: string,
  { device = "cpu", threads, ...options }: ParityOptions & Pick<DeviceOptions, "device" | "threads"> = {},
): Promise<ParityReport> {
  const opened = await openDevice({ device, ...(threads !== undefined && { threads }) });
  try {
    return await checkParity(opened, folder, golden, options);
  } finally {
    await opened.close();
  }
}
