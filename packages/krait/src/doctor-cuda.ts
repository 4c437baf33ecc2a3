import { access, readFile } from "node:fs/promises";
import { delimiter, join } from "node:path";

/** What stands between this machine and CUDA. */
export type MissingCuda = "addon" | "plugin" | "driver" | "newer driver" | "device" | "unknown";

/** The NVIDIA driver as the file system shows it: asked without any library, so that it can be told from a missing plugin. */
export interface DriverFacts {
  /** libcuda, the part of the driver that programs open. */
  library?: string;
  /** Version of the kernel module, `580.65.06`. */
  version?: string;
  /** Whether a device node is there. */
  deviceNode: boolean;
  /** Folders looked into for the library. */
  searched: string[];
}

const libraryFolders = [
  "/usr/lib/x86_64-linux-gnu",
  "/usr/lib/aarch64-linux-gnu",
  "/usr/lib64",
  "/usr/lib",
  "/usr/local/nvidia/lib64",
  "/usr/local/cuda/compat",
  "/usr/lib/wsl/lib",
];

export async function findDriver(): Promise<DriverFacts> {
  const chosen = (process.env.LD_LIBRARY_PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  const searched = [...chosen, ...libraryFolders];
  let library: string | undefined;
  for (const folder of searched) {
    const path = join(folder, "libcuda.so.1");
    if (library === undefined && (await exists(path))) library = path;
  }
  const module = await readFile("/proc/driver/nvidia/version", "utf8").catch(() => "");
  const version = /\s(\d+\.\d+(?:\.\d+)?)\s/.exec(module)?.[1];
  const deviceNode = (await exists("/dev/nvidiactl")) || (await exists("/dev/dxg"));
  return { ...(library !== undefined && { library }), ...(version !== undefined && { version }), deviceNode, searched };
}

/** All that is known before judging. `reason` is why the plugin sees no device. */
export interface CudaFacts {
  addon: boolean;
  path?: string;
  searched: string[];
  devices: number;
  reason?: string;
  driver: DriverFacts;
}

export interface CudaVerdict {
  missing: MissingCuda | undefined;
  reason: string;
  hint: string;
  parts: Record<"plugin" | "driver" | "device", string>;
}

const hints: Record<MissingCuda, string> = {
  addon: "Build the native part first with `npm run setup`.",
  plugin:
    "It is built where nvcc is found: install the CUDA toolkit (12.8 or later) and run `npm run build -- --cuda`.",
  driver: "Install NVIDIA's driver; in a container, start it with the GPU (`--gpus all`).",
  "newer driver": "Update NVIDIA's driver.",
  device: "Check `nvidia-smi` and CUDA_VISIBLE_DEVICES; in a container, start it with the GPU (`--gpus all`).",
  unknown: "The reason names what failed; `nvidia-smi` may say more.",
};

/** Says which of plugin, driver and device is missing. The first in the way is the verdict; all three are told. */
export function explainCuda(facts: CudaFacts): CudaVerdict {
  const { path, searched, devices, reason, driver } = facts;
  const missing = firstMissing(facts);
  const parts = {
    plugin: path ?? `missing; looked for ${searched.join(", ") || "it in no place: no build folder above"}`,
    driver: describeDriver(driver, missing),
    device: describeDevices(devices, driver, path),
  };
  const reasons: Record<MissingCuda, string> = {
    addon: "the native addon, which opens the CUDA plugin, is missing",
    plugin: "the CUDA plugin is missing",
    driver: "there is no NVIDIA driver",
    "newer driver": "the NVIDIA driver is too old",
    device: "there is no CUDA device",
    unknown: "CUDA cannot serve",
  };
  if (missing === undefined) return { missing, reason: "", hint: "", parts };
  const also: string[] = [];
  if ((missing === "addon" || missing === "plugin") && !hasDriver(driver))
    also.push("there is no NVIDIA driver either");
  const detail = path !== undefined && reason !== undefined && missing !== "addon" ? `: ${reason}` : "";
  return { missing, reason: `${[reasons[missing], ...also].join(", and ")}${detail}`, hint: hints[missing], parts };
}

function firstMissing({ addon, path, devices, reason, driver }: CudaFacts): MissingCuda | undefined {
  if (path === undefined) return "plugin";
  if (!addon) return "addon";
  if (devices > 0) return reason === undefined ? undefined : "unknown";
  // The plugin's own words first: it asked the driver.
  if (/driver for CUDA|InsufficientDriver\)/.test(reason ?? "") && hasDriver(driver)) return "newer driver";
  if (/driver but received none|libcuda/.test(reason ?? "")) return "driver";
  if (/NoDevice|no CUDA device|driver shows none/.test(reason ?? "")) return "device";
  if (!hasDriver(driver)) return "driver";
  return reason === undefined ? "device" : "unknown";
}

function hasDriver({ library, version }: DriverFacts): boolean {
  return library !== undefined || version !== undefined;
}

function describeDriver(driver: DriverFacts, missing: MissingCuda | undefined): string {
  const { library, version, searched } = driver;
  if (!hasDriver(driver)) return `missing; no /proc/driver/nvidia/version, no libcuda.so.1 in ${searched.join(", ")}`;
  const found = [version, library].filter((fact) => fact !== undefined).join(", ");
  return missing === "newer driver" ? `too old: ${found}` : found;
}

function describeDevices(devices: number, driver: DriverFacts, plugin: string | undefined): string {
  if (devices > 0) return `${devices} found`;
  if (plugin === undefined && driver.deviceNode) return "a device node is there; the plugin would have to ask it";
  return driver.deviceNode ? "a device node is there, but CUDA shows no device" : "missing; no device node in /dev";
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
