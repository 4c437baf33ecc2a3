import { afterEach, describe, expect, it, vi } from "vitest";
import { doctor } from "../src/doctor.js";
import { type CudaFacts, explainCuda } from "../src/doctor-cuda.js";

const noDriver = { deviceNode: false, searched: ["/usr/lib"] };
const driver = { library: "/usr/lib/libcuda.so.1", version: "580.65.06", deviceNode: true, searched: ["/usr/lib"] };
const plugin = "/b/krait_cuda.so";
const facts = (given: Partial<CudaFacts>): CudaFacts => ({
  addon: true,
  searched: [plugin],
  devices: 0,
  driver,
  ...given,
});

/** What the plugin and CUDA say in each case. */
const said = {
  noDriver: "Expected an NVIDIA driver but received none: libcuda.so.1 is not there (cudaErrorInsufficientDriver)",
  oldDriver:
    "Expected an NVIDIA driver for CUDA 13.0 or newer but received one for CUDA 12.2: update the driver (cudaErrorInsufficientDriver)",
  noDevice:
    "Expected an NVIDIA GPU but the driver shows none: none is installed, or CUDA_VISIBLE_DEVICES hides it (cudaErrorNoDevice)",
};

describe("what stands between a machine and CUDA", () => {
  it("is nothing when a device opens", () => {
    expect(explainCuda(facts({ path: plugin, devices: 2 })).missing).toBeUndefined();
  });

  it("is the plugin when it was not built, and the places searched are told", () => {
    const verdict = explainCuda(facts({ reason: "the CUDA plugin krait_cuda.so is not there" }));
    expect(verdict).toMatchObject({ missing: "plugin", reason: "the CUDA plugin is missing" });
    expect(verdict.parts.plugin).toContain(plugin);
    expect(verdict.parts.driver).toContain("580.65.06");
  });

  it("is plugin and driver when both are missing", () => {
    const { missing, reason, parts } = explainCuda(facts({ driver: noDriver }));
    expect(missing).toBe("plugin");
    expect(reason).toMatch(/plugin is missing.*no NVIDIA driver/);
    expect(parts).toMatchObject({
      driver: expect.stringMatching(/^missing/),
      device: expect.stringMatching(/^missing/),
    });
  });

  it.each([
    ["driver", { reason: said.noDriver, driver: noDriver }],
    ["newer driver", { reason: said.oldDriver }],
    ["device", { reason: said.noDevice, driver: { ...driver, deviceNode: false } }],
    ["unknown", { reason: "Expected a usable NVIDIA GPU but CUDA reported cudaErrorSystemNotReady" }],
    ["unknown", { reason: "out of memory", devices: 1 }],
    ["addon", { reason: "the addon is not there", addon: false }],
  ] as const)("is the %s when the plugin says so", (missing, given) => {
    const verdict = explainCuda(facts({ path: plugin, ...given }));
    expect(verdict.missing).toBe(missing);
    expect(verdict.hint).not.toBe("");
    if (missing !== "addon") expect(verdict.reason).toContain(given.reason);
  });
});

describe("doctor", () => {
  afterEach(() => void vi.unstubAllEnvs());

  it("never throws, and gives each missing part a reason", async () => {
    vi.stubEnv("PATH", "/no/such/folder");
    vi.stubEnv("KRAIT_FFPROBE", "/no/such/ffprobe");
    vi.stubEnv("FFMPEG_PATH", "");
    vi.stubEnv("KRAIT_FFMPEG", "");
    const report = await doctor();
    expect(report.ffmpeg.version).toBeUndefined();
    expect(report.ffmpeg).toMatchObject({
      reason: expect.stringContaining("PATH"),
      hint: expect.stringContaining("install"),
    });
    expect(report.ffprobe.reason).toContain("/no/such/ffprobe");
    expect(report.node).toBe(process.versions.node);
    expect(report.cpu.cores).toBeGreaterThan(0);
    expect(report.sharp.version).toMatch(/^\d/);
    for (const part of [report.addon, report.oneDNN, report.cpu, report.cuda]) {
      const serves = "serves" in part ? part.serves : "path" in part || "version" in part;
      expect(part.reason === undefined).toBe(serves);
    }
  });
});
