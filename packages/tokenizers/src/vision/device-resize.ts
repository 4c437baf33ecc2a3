import type { Device, PictureResizer } from "@krait/runtime";
import type { FilterName } from "./filters.js";
import { type Box, resizeTables, type Size } from "./resize.js";

/**
 * `Resizer` on the threads of a CPU device, off the event loop: the same bytes, to the bit. Throws `UsageError` (INVALID_OPTION),
 * `EnvironmentError` (UNSUPPORTED) on a device that is no CPU.
 */
export function openDeviceResizer(
  device: Device,
  source: Size,
  target: Size,
  filter: FilterName,
  box?: Box,
): PictureResizer {
  const { columns, rows } = resizeTables(source, target, filter, box);
  // Without values an axis is copied.
  const values = (taps: typeof columns, keeps: boolean) => (keeps ? undefined : taps.values);
  return device.resizer(
    { size: source.width, ...columns, values: values(columns, source.width === target.width) },
    { size: source.height, ...rows, values: values(rows, source.height === target.height) },
  );
}
