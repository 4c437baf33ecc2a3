import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { EnvironmentError } from "@krait/core";
import { abiHash } from "@krait/graph";

/** The addon's surface, as kernels/addon defines it. */
export interface NativeAddon {
  abiHash: string;
  Device: new (options: { plugin?: string; index: number; threads: number; urgent?: boolean }) => NativeDevice;
  pluginDevices(path: string): number;
  polyphase(signal: Float32Array, filters: Float64Array, output: Float32Array, at: PolyphaseAt): void;
}

/**
 * Where a resampler stands: output i of a call is Σ filters[p · taps + k] · signal[b + k], with p + b · up going on by `down` from
 * one output to the next. Samples outside the signal are zero.
 */
export interface PolyphaseAt {
  up: number;
  down: number;
  /** The first output's filter, and the sample on which its first tap lies. */
  phase: number;
  base: number;
}

export interface NativeDevice {
  allocate(bytes: number): Promise<NativeBuffer>;
  load(program: ArrayBuffer): Promise<NativeProgram>;
  /** CPU devices only; the file must be open until the promise settles. */
  mapFile(fd: number, name: string): Promise<NativeMappedFile>;
  /** The first of the reads with an element that is not finite, or −1 where the file ended too soon. */
  readFiles(reads: NativeFileRead[]): Promise<{ read: number; element: number } | undefined>;
  /** CPU devices only. */
  resizer(tables: { columns: ResizeTaps; rows: ResizeTaps }): NativeResizer;
  describe(): string;
  close(): Promise<void>;
}

/**
 * How one axis of a picture is mixed: output i is Σ values[i · width + k] · x[first[i] + k] over count[i] of `size` pixels, in units
 * of 2⁻²², with as many values per output. Without values the outputs are pixels in their order.
 */
export interface ResizeTaps {
  size: number;
  first: Int32Array;
  count: Int32Array;
  values?: Int32Array | undefined;
}

export interface NativeResizer {
  run(pixels: Uint8Array): Promise<ArrayBuffer>;
  close(): void;
}

export interface NativeBuffer {
  readonly bytes: number;
  write(data: ArrayBufferView, offset: number): Promise<void>;
  read(into: ArrayBufferView, offset: number): Promise<void>;
  fill(byte: number, offset: number, bytes: number): Promise<void>;
  close(): void;
}

export interface NativeMappedFile {
  readonly bytes: number;
  buffer(offset: number, bytes: number): NativeBuffer;
  close(): void;
}

export interface NativeFileRead {
  buffer: NativeBuffer;
  fd: number;
  /** Bytes in the file. */
  offset: number;
  /** Elements. */
  count: number;
  /** 0 to 3: f32, bf16, f16, f64. */
  stored: number;
  scale: number;
  rounds: boolean;
  /** Whether bf16 is wanted, else f32. */
  narrow: boolean;
  /** In the buffer. */
  byteOffset: number;
}

export interface NativeRun {
  /** The outputs' bytes, in the order of the request. */
  done: Promise<ArrayBuffer[]>;
  cancel(): void;
}

export interface NativeRequest {
  symbols: number[];
  inputs: ArrayBufferView[];
  /** Bytes of each. */
  outputs: number[];
  buffers: NativeBuffer[];
}

export interface NativeProgram {
  run(request: NativeRequest): NativeRun;
  measure(request: NativeRequest, options: { warmup: number; repeats: number; perOp: boolean }): Promise<number[]>;
  arena(): NativeBuffer;
  close(): void;
}

/** The nearest folder above this file that holds build/native: the root of a checkout or of an unpacked bundle. */
function* ancestors(): Generator<string> {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    yield folder;
    const parent = dirname(folder);
    if (parent === folder) return;
    folder = parent;
  }
}

/** Places a native file may be, best first. `KRAIT_ADDON` names the addon itself; its neighbours are searched too. */
function candidates(file: string): string[] {
  const places: string[] = [];
  const chosen = process.env.KRAIT_ADDON;
  if (chosen) places.push(file === "krait.node" ? resolve(chosen) : join(dirname(resolve(chosen)), file));
  for (const folder of ancestors()) {
    if (existsSync(join(folder, "CMakeLists.txt")) || existsSync(join(folder, "build", "native"))) {
      places.push(join(folder, "build", "native", file));
    }
  }
  return places;
}

/** Where a native file lies, and where it was looked for. */
export function locateNative(file: "krait.node" | "krait_cuda.so"): { path?: string; searched: string[] } {
  const searched = candidates(file);
  const path = searched.find((p) => existsSync(p));
  return path === undefined ? { searched } : { path, searched };
}

let loaded: NativeAddon | undefined;

/**
 * Loads the native addon once. Throws `EnvironmentError`: ADDON_NOT_FOUND with every place searched, ADDON_UNLOADABLE with the
 * linker's reason, or ADDON_MISMATCH when it was built from other op records.
 */
export function loadAddon(): NativeAddon {
  if (loaded) return loaded;
  // libgomp reads this once, when it is loaded: waiting threads must sleep, not burn the cores that ffmpeg and sharp need.
  process.env.OMP_WAIT_POLICY ??= "passive";
  // Some tens of microseconds awake bridge the gaps between the ops of a step, where waking costs as much as an op.
  process.env.GOMP_SPINCOUNT ??= "3000";
  const places = candidates("krait.node");
  const found = places.find((p) => existsSync(p));
  if (!found) {
    throw new EnvironmentError(
      `Expected the native addon krait.node but found none in ${places.join(", ") || "any folder above"}`,
      {
        code: "ADDON_NOT_FOUND",
        hint: "Build it with `npm run setup`, or point KRAIT_ADDON at it.",
      },
    );
  }
  let addon: NativeAddon;
  try {
    addon = createRequire(import.meta.url)(found) as NativeAddon;
  } catch (cause) {
    throw new EnvironmentError(`Expected ${found} to load but the system refused: ${(cause as Error).message}`, {
      code: "ADDON_UNLOADABLE",
      hint: "Rebuild it on this machine with `npm run setup`; a missing shared library is named in the message.",
      cause,
    });
  }
  if (addon.abiHash !== abiHash) {
    throw new EnvironmentError(`Expected an addon built from these op records but received ${found} of another build`, {
      code: "ADDON_MISMATCH",
      hint: "Rebuild with `npm run build`.",
    });
  }
  loaded = addon;
  return addon;
}

export interface PluginReport {
  /** Where the plugin lies, if it was found. */
  path?: string;
  searched: string[];
  devices: number;
  /** Why CUDA cannot serve; absent when it can. */
  reason?: string;
}

/** Looks for the CUDA plugin and asks it for devices. Never throws for what a machine may lack. */
export function inspectCuda(): PluginReport {
  const searched = candidates("krait_cuda.so");
  const path = searched.find((p) => existsSync(p));
  if (!path) {
    return {
      searched,
      devices: 0,
      reason: `the CUDA plugin krait_cuda.so is not there (searched ${searched.join(", ")})`,
    };
  }
  try {
    const devices = loadAddon().pluginDevices(path);
    return devices > 0 ? { path, searched, devices } : { path, searched, devices, reason: "no CUDA device is present" };
  } catch (error) {
    return { path, searched, devices: 0, reason: (error as Error).message };
  }
}
