export {
  Device,
  DeviceBuffer,
  type DeviceOptions,
  deviceOptionsSchema,
  type FileFault,
  type FileRead,
  MappedFile,
  openDevice,
} from "./device.js";
export { inspectCuda, loadAddon, locateNative, type PluginReport, type ResizeTaps } from "./native.js";
export { polyphase } from "./polyphase.js";
export { type LoadOptions, type Measured, type MeasureOptions, Program, type RunOptions } from "./program.js";
export { PictureResizer } from "./resizer.js";
