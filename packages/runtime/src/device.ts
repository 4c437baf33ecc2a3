import { availableParallelism } from "node:os";
import { type Closable, EnvironmentError, expected, parseOptions, type TypedArray, UsageError } from "@krait/core";
import type { Graph } from "@krait/graph";
import { z } from "zod";
import { fromNative } from "./from-native.js";
import {
  inspectCuda,
  loadAddon,
  type NativeBuffer,
  type NativeDevice,
  type NativeMappedFile,
  type ResizeTaps,
} from "./native.js";
import { type LoadOptions, loadProgram, type Program } from "./program.js";
import { openResizer, type PictureResizer } from "./resizer.js";

export const deviceOptionsSchema = z.strictObject({
  /** `auto` is CUDA when it can serve, else the CPU. */
  device: z.enum(["auto", "cpu", "cuda"]).default("auto"),
  /** Which CUDA device. */
  index: z.number().int().min(0).default(0),
  /** CPU threads; all cores when absent. */
  threads: z.number().int().positive().max(1024).optional(),
  /** On CUDA, `high`: what this device runs goes before what other devices opened on the same GPU run. For small work that others wait for. */
  priority: z.enum(["normal", "high"]).default("normal"),
});
export type DeviceOptions = z.input<typeof deviceOptionsSchema>;

/** Bytes that one call copies on the event loop: about a millisecond's worth. */
const PIECE_BYTES = 2 ** 22;

/** Dtypes that weights may be stored in, in the order of the native side. */
const storedDtypes = ["f32", "bf16", "f16", "f64"] as const;

/** Elements of an open file that become elements of a buffer. A buffer of a `MappedFile` has them: they are only looked through. */
export interface FileRead {
  /** Must stay open until the read is done. */
  fd: number;
  /** Bytes from the start of the file. */
  offset: number;
  count: number;
  dtype: (typeof storedDtypes)[number];
  /** Multiplies every element. */
  scale?: number;
  /** Rounds to bf16 although the buffer holds f32. */
  rounds?: boolean;
  into: DeviceBuffer;
  /** As which they are kept. */
  target: "f32" | "bf16";
  /** Where in the buffer they begin, in elements. */
  element?: number;
}

/** The first read of a list that did not give what it should. */
export interface FileFault {
  /** Its index. */
  read: number;
  /** Its first element that is not finite as the buffer would hold it; without one, the file ended too soon. */
  notFinite?: number;
}

/** Memory on a device, `bytes` long. */
export class DeviceBuffer implements Closable {
  /** @internal `device` is held because a device that nothing refers to closes. */
  constructor(
    readonly native: NativeBuffer,
    readonly device: NativeDevice,
  ) {}

  get bytes(): number {
    return this.native.bytes;
  }

  /**
   * Copies the array to a byte offset; resolves when it has arrived, and until then it must not change. The host's side of the copy
   * happens on the event loop, so large arrays go in pieces.
   */
  async write(data: TypedArray, byteOffset = 0): Promise<void> {
    const step = PIECE_BYTES / data.BYTES_PER_ELEMENT;
    for (let from = 0; from === 0 || from < data.length; from += step) {
      const piece = data.length <= step ? data : data.subarray(from, from + step);
      await this.native
        .write(piece, byteOffset + from * data.BYTES_PER_ELEMENT)
        .catch((e) => Promise.reject(fromNative(e, "writing a buffer")));
    }
  }

  /** Fills `into` from a byte offset and returns it. */
  async read<A extends TypedArray>(into: A, byteOffset = 0): Promise<A> {
    await this.native.read(into, byteOffset).catch((e) => Promise.reject(fromNative(e, "reading a buffer")));
    return into;
  }

  /** Sets every byte of a range. */
  async fill(byte: number, byteOffset = 0, bytes = this.bytes - byteOffset): Promise<void> {
    await this.native.fill(byte, byteOffset, bytes).catch((e) => Promise.reject(fromNative(e, "filling a buffer")));
  }

  close(): void {
    this.native.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

/**
 * A file that is read where it is mapped: its buffers take no memory beside the system's cache of the file, and cannot be written to.
 * Whoever cuts the file or writes to it makes what reads the buffers fail with `InputError` (FILE_CHANGED), for good; a file that is
 * replaced under its name stays mapped as it was. A program that writes through a shared mapping of its own may go unseen until the
 * system writes its pages back.
 */
export class MappedFile implements Closable {
  /** @internal */
  constructor(
    private readonly native: NativeMappedFile,
    private readonly device: NativeDevice,
  ) {}

  get bytes(): number {
    return this.native.bytes;
  }

  /** Bytes of the file as memory of the device. Throws `UsageError` (INVALID_RUN) for bytes that it does not have. */
  buffer(offset: number, bytes: number): DeviceBuffer {
    try {
      return new DeviceBuffer(this.native.buffer(offset, bytes), this.device);
    } catch (error) {
      throw fromNative(error, "a buffer of a mapped file");
    }
  }

  /** Makes no more buffers; the file stays mapped as long as one of its buffers is open. */
  close(): void {
    this.native.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

/** One device with its executor thread. Jobs run in the order they were given; nothing blocks the event loop. */
export class Device implements Closable {
  private closed: Promise<void> | undefined;

  /** @internal */
  constructor(
    readonly kind: "cpu" | "cuda",
    private readonly native: NativeDevice,
  ) {}

  /** What the device says of itself: name, threads, memory, libraries found. */
  describe(): Record<string, unknown> {
    return JSON.parse(this.native.describe()) as Record<string, unknown>;
  }

  /** New memory, not cleared. Throws `EnvironmentError` (OUT_OF_MEMORY). */
  async allocate(bytes: number): Promise<DeviceBuffer> {
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new UsageError(expected("a non-negative integer", "the bytes of a buffer", bytes), {
        code: "INVALID_OPTION",
      });
    }
    try {
      return new DeviceBuffer(await this.native.allocate(bytes), this.native);
    } catch (error) {
      throw fromNative(error, `allocating ${bytes} bytes`);
    }
  }

  /** New memory that holds a copy of the array. */
  async upload(data: TypedArray): Promise<DeviceBuffer> {
    return this.filled(data.byteLength, (buffer) => buffer.write(data));
  }

  /** New memory of zeros. */
  async zeros(bytes: number): Promise<DeviceBuffer> {
    return this.filled(bytes, (buffer) => buffer.fill(0));
  }

  /**
   * Maps an open file on a CPU device; the handle may be closed afterwards.
   *
   * @param name of the file, for messages
   * @throws EnvironmentError (UNSUPPORTED) on other devices, and where the system or the file does not allow it
   */
  async mapFile(fd: number, name: string): Promise<MappedFile> {
    const native = await this.native
      .mapFile(fd, name)
      .catch((e: unknown) => Promise.reject(fromNative(e, "mapping a file")));
    return new MappedFile(native, this.native);
  }

  /**
   * Reads elements of files into buffers of this device, on its own threads: they never pass through JavaScript. After a fault, what the
   * buffers hold is undefined.
   *
   * @throws EnvironmentError (DEVICE_FAILED) when the system cannot read a file
   * @throws InputError (FILE_CHANGED) when a mapped file is no longer as it was
   * @throws UsageError (INVALID_RUN) for elements outside of their buffer
   */
  async readFiles(reads: readonly FileRead[]): Promise<FileFault | undefined> {
    const found = await this.native
      .readFiles(
        reads.map(({ fd, offset, count, dtype, scale = 1, rounds = false, into, target, element = 0 }) => {
          const narrow = target === "bf16";
          const byteOffset = element * (narrow ? 2 : 4);
          const stored = storedDtypes.indexOf(dtype);
          return { buffer: into.native, fd, offset, count, stored, scale, rounds, narrow, byteOffset };
        }),
      )
      .catch((e) => Promise.reject(fromNative(e, "reading files into buffers")));
    return found && { read: found.read, ...(found.element >= 0 && { notFinite: found.element }) };
  }

  /** Plans a program, hands it to the device and allocates its arena. */
  async load(graph: Graph, options: LoadOptions = {}): Promise<Program> {
    return loadProgram(this.native, graph, options);
  }

  /**
   * Prepares to resize pictures on a CPU device. Throws `UsageError` (INVALID_RUN) for tables that point outside the picture,
   * `EnvironmentError` (UNSUPPORTED) on other devices.
   */
  resizer(columns: ResizeTaps, rows: ResizeTaps): PictureResizer {
    return openResizer(this.native, columns, rows);
  }

  /** Cancels what runs, refuses what waits, frees the thread. Buffers and programs of the device are dead afterwards. */
  close(): Promise<void> {
    this.closed ??= this.native.close();
    return this.closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async filled(bytes: number, fill: (buffer: DeviceBuffer) => Promise<void>): Promise<DeviceBuffer> {
    const buffer = await this.allocate(bytes);
    try {
      await fill(buffer);
      return buffer;
    } catch (error) {
      buffer.close();
      throw error;
    }
  }
}

/**
 * Opens a device. Throws `EnvironmentError`: ADDON_* when the native part is missing, CUDA_UNAVAILABLE when `cuda` was asked for
 * and cannot serve, with the reason. Throws `UsageError` (DEVICE_INDEX_INVALID) for an index that no device has.
 */
export async function openDevice(options: DeviceOptions = {}): Promise<Device> {
  const { device, index, threads, priority } = parseOptions(deviceOptionsSchema, options, "openDevice()");
  const addon = loadAddon();
  if (device !== "cpu") {
    const cuda = inspectCuda();
    if (cuda.path && cuda.devices > 0) {
      if (index >= cuda.devices) {
        throw new UsageError(
          expected(`an index below ${cuda.devices}, the number of CUDA devices`, "a device", index),
          {
            code: "DEVICE_INDEX_INVALID",
            hint: "Leave index out for the first; `krait doctor` lists them, and CUDA_VISIBLE_DEVICES may hide some.",
          },
        );
      }
      try {
        return new Device(
          "cuda",
          new addon.Device({ plugin: cuda.path, index, threads: 0, urgent: priority === "high" }),
        );
      } catch (error) {
        if (device === "cuda") throw fromNative(error, "opening the CUDA device");
      }
    } else if (device === "cuda" || index > 0) {
      // `auto` may fall back to the CPU, but not from a device that was named.
      throw new EnvironmentError(
        `Expected a CUDA device for ${index > 0 ? `index ${index}` : 'device "cuda"'} but none can serve: ${cuda.reason}`,
        {
          code: "CUDA_UNAVAILABLE",
          hint: 'Use device "cpu" or "auto", or see `krait doctor` for what is missing.',
        },
      );
    }
  }
  try {
    return new Device("cpu", new addon.Device({ index: 0, threads: threads ?? availableParallelism() }));
  } catch (error) {
    throw fromNative(error, "opening the CPU device");
  }
}
