import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { cpus } from "node:os";
import { promisify } from "node:util";
import { KraitError } from "@krait/core";
import { findProgram, type ProgramName } from "@krait/media";
import { inspectCuda, loadAddon, locateNative, openDevice } from "@krait/runtime";
import sharp from "sharp";
import { explainCuda, findDriver, type MissingCuda } from "./doctor-cuda.js";
import { version } from "./version.js";

/** Why something cannot serve, and what mends it. */
interface Lack {
  reason?: string;
  hint?: string;
}

/** What this machine has. A part that is missing has a `reason`. */
export interface DoctorReport {
  version: string;
  node: string;
  /** `linux-x64` */
  platform: string;
  /** `serves` is whether `device: "cpu"` works. `simd` names what the kernels can make use of, where the system tells. */
  cpu: Lack & { serves: boolean; model: string; cores: number; simd: string[]; description?: Record<string, unknown> };
  addon: Lack & { path?: string };
  oneDNN: Lack & { version?: string };
  /** `missing` is the first thing in the way, `parts` tells of plugin, driver and device one by one. */
  cuda: Lack & {
    serves: boolean;
    missing?: MissingCuda;
    plugin?: string;
    devices: number;
    /** What the first device says of itself. */
    description?: Record<string, unknown>;
    cublasLt?: string;
    parts: Record<"plugin" | "driver" | "device" | "cuBLASLt", string>;
  };
  ffmpeg: Lack & { path?: string; version?: string };
  ffprobe: Lack & { path?: string; version?: string };
  sharp: { version: string; libvips: string };
}

/** Looks at everything Krait needs or can use. Never throws for what a machine lacks. */
export async function doctor(): Promise<DoctorReport> {
  const addon = inspectAddon();
  const cpu = await inspectCpu(addon);
  const [cuda, ffmpeg, ffprobe, simd] = await Promise.all([
    inspectGpu(addon),
    inspectProgram("ffmpeg"),
    inspectProgram("ffprobe"),
    simdExtensions(),
  ]);
  const processors = cpus();
  return {
    version,
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    cpu: { ...cpu, model: processors[0]?.model.trim() || "unknown", cores: processors.length, simd },
    addon,
    oneDNN: describeOneDnn(cpu.description),
    cuda,
    ffmpeg,
    ffprobe,
    sharp: { version: sharp.versions.sharp ?? "unknown", libvips: sharp.versions.vips },
  };
}

function inspectAddon(): DoctorReport["addon"] {
  const { path } = locateNative("krait.node");
  try {
    loadAddon();
    return path === undefined ? {} : { path };
  } catch (error) {
    return { ...(path !== undefined && { path }), ...lack(error) };
  }
}

async function inspectCpu(
  addon: DoctorReport["addon"],
): Promise<Lack & { serves: boolean; description?: Record<string, unknown> }> {
  if (addon.reason !== undefined) return { serves: false, reason: "the native addon is missing" };
  try {
    const device = await openDevice({ device: "cpu", threads: 1 });
    try {
      return { serves: true, description: device.describe() };
    } finally {
      await device.close();
    }
  } catch (error) {
    return { serves: false, ...lack(error) };
  }
}

function describeOneDnn(cpu: Record<string, unknown> | undefined): DoctorReport["oneDNN"] {
  const found = /^onednn (.+)$/.exec(String(cpu?.gemm))?.[1];
  if (found !== undefined) return { version: found };
  if (cpu === undefined) return { reason: "not asked: the CPU device does not open" };
  if (process.env.KRAIT_ONEDNN === "off") return { reason: "turned off by KRAIT_ONEDNN=off" };
  return {
    reason: "neither libdnnl.so.3 nor libdnnl.so.2 opens; own kernels multiply matrices, slower",
    hint: "Install it: `apt-get install libdnnl2` (Debian 12), or set LD_LIBRARY_PATH to where it lies.",
  };
}

async function inspectGpu(addon: DoctorReport["addon"]): Promise<DoctorReport["cuda"]> {
  const [report, driver] = [inspectCuda(), await findDriver()];
  let description: Record<string, unknown> | undefined;
  let failure: string | undefined;
  if (report.devices > 0) {
    try {
      const device = await openDevice({ device: "cuda" });
      description = device.describe();
      await device.close();
    } catch (error) {
      failure = lack(error).reason;
    }
  }
  const facts = {
    ...report,
    ...(failure !== undefined && { reason: failure }),
    driver,
    addon: addon.reason === undefined,
  };
  const { missing, reason, hint, parts } = explainCuda(facts);
  const gemm = description?.gemm === undefined ? undefined : String(description.gemm);
  const detail = description?.gemmDetail === undefined ? "" : ` (${description.gemmDetail})`;
  return {
    serves: missing === undefined,
    ...(missing !== undefined && { missing, reason, hint }),
    ...(report.path !== undefined && { plugin: report.path }),
    devices: report.devices,
    ...(description !== undefined && { description }),
    ...(gemm?.startsWith("cublaslt") && { cublasLt: gemm.replace(/^cublaslt /, "") }),
    parts: {
      ...parts,
      ...(description !== undefined && {
        device: `${description.name}, compute capability ${description.computeCapability}`,
      }),
      cuBLASLt: gemm === undefined ? "not asked: no device opens" : `${gemm}${detail}`,
    },
  };
}

async function inspectProgram(name: ProgramName): Promise<DoctorReport["ffmpeg"]> {
  try {
    const path = await findProgram(name);
    try {
      const { stdout } = await promisify(execFile)(path, ["-hide_banner", "-version"], { timeout: 10_000 });
      return { path, version: /^\S+ version (\S+)/.exec(stdout)?.[1] ?? "of an unknown version" };
    } catch (error) {
      return {
        path,
        reason: `${path} does not run: ${(error as Error).message.trim().split("\n").at(-1)}`,
        hint: `Run \`${path} -version\` by hand: a library may be missing, or it is built for another machine.`,
      };
    }
  } catch (error) {
    return lack(error);
  }
}

/** What the kernels choose between at run time, by the names Linux gives. */
const wantedSimd = ["avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "asimddp", "sve", "sve2"];

async function simdExtensions(): Promise<string[]> {
  const info = await readFile("/proc/cpuinfo", "utf8").catch(() => "");
  const flags = new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(info)?.[1]?.trim().split(/\s+/));
  return wantedSimd.filter((name) => flags.has(name));
}

function lack(error: unknown): { reason: string; hint?: string } {
  const { message, hint } = error as { message: string; hint?: string };
  return { reason: message, ...(KraitError.is(error) && hint !== undefined && { hint }) };
}
