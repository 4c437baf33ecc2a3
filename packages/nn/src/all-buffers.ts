import type { DeviceBuffer } from "@krait/runtime";

/** All of the buffers, made at the same time so that none waits for the one before; or none of them, and the first failure. */
export async function allBuffers(pending: readonly Promise<DeviceBuffer>[]): Promise<DeviceBuffer[]> {
  const settled = await Promise.allSettled(pending);
  const made = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const failed = settled.find((one) => one.status === "rejected");
  if (!failed) return made;
  for (const buffer of made) buffer.close();
  throw failed.reason;
}
