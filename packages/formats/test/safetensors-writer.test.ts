import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { createSafetensorsWriter, openSafetensors, type TensorToWrite, writeSafetensors } from "../src/index.js";
import { random, temporaryFolder } from "./helpers.js";

const at = temporaryFolder();
const left = (prefix: string) => readdirSync(dirname(at("x"))).filter((name) => name.startsWith(prefix));

afterEach(() => vi.restoreAllMocks());

/** The disk takes `calls` more writes and is full then. */
async function fillDiskAfter(calls: number): Promise<void> {
  const handle = await open(at("probe"), "w");
  const prototype = Object.getPrototypeOf(handle);
  await handle.close();
  const { write } = prototype;
  let done = 0;
  vi.spyOn(prototype, "write").mockImplementation(function (this: unknown, ...args: unknown[]) {
    if (done++ >= calls) return Promise.reject(Object.assign(new Error("no space left"), { code: "ENOSPC" }));
    return write.apply(this, args);
  });
}

const columns = {
  features: { dtype: "f32", rowShape: [3] },
  times: { dtype: "f64", rowShape: [2] },
  modality: { dtype: "u8", rowShape: [] },
} as const;

function rows(from: number, n: number) {
  return {
    features: Float32Array.from({ length: n * 3 }, (_, i) => (from * 3 + i) * 0.5),
    times: Float64Array.from({ length: n * 2 }, (_, i) => (from * 2 + i) / 3),
    modality: Uint8Array.from({ length: n }, (_, i) => (from + i) % 256),
  };
}

describe("createSafetensorsWriter", () => {
  it("gives the same file for every cutting into appends as writing it whole", async () => {
    const all = rows(0, 500);
    const metadata = { "krait.version": "0", options: '{"a":"ü"}' };
    await writeSafetensors(
      at("whole.safetensors"),
      {
        features: { dtype: "f32", shape: [500, 3], data: all.features },
        times: { dtype: "f64", shape: [500, 2], data: all.times },
        modality: { dtype: "u8", shape: [500], data: all.modality },
      },
      metadata,
    );
    const whole = readFileSync(at("whole.safetensors"));
    const rng = random(3);
    for (let round = 0; round < 4; round++) {
      const writer = await createSafetensorsWriter(at("rows.safetensors"), {
        tensors: columns,
        metadata: { options: "old" },
      });
      while (writer.rows < 500) {
        const n = Math.min(500 - writer.rows, Math.floor(rng() * 60));
        const piece = rows(writer.rows, n);
        await writer.append(piece, n);
        piece.features.fill(Number.NaN); // it may be reused
      }
      expect(left("rows.safetensors")).not.toContain("rows.safetensors");
      await writer.finish({ metadata });
      expect(left("rows.safetensors")).toEqual(["rows.safetensors"]);
      expect(readFileSync(at("rows.safetensors")).equals(whole)).toBe(true);
      execFileSync("rm", [at("rows.safetensors")]);
    }
  });

  it("aligns every tensor to its element and pads the header to 8 bytes", async () => {
    const tensors: Record<string, TensorToWrite> = {
      a: { dtype: "u8", shape: [3], data: new Uint8Array(3) },
      b: { dtype: "f64", shape: [1], data: new Float64Array(1) },
      c: { dtype: "bf16", shape: [1], data: new Uint16Array(1) },
      d: { dtype: "i64", shape: [], data: new BigInt64Array(1) },
      e: { dtype: "f32", shape: [0, 5], data: new Float32Array(0) },
      f: { dtype: "i32", shape: [1], data: new Int32Array(1) },
    };
    await writeSafetensors(at("aligned.safetensors"), tensors);
    const opened = await openSafetensors(at("aligned.safetensors"));
    for (const [name, { dtype, byteOffset }] of opened.tensors)
      expect(byteOffset % tensors[name]!.data.BYTES_PER_ELEMENT, `${name} ${dtype}`).toBe(0);
    expect(readFileSync(at("aligned.safetensors")).readUInt32LE(0) % 8).toBe(0);
    await opened.close();
    expect(left("aligned")).toEqual(["aligned.safetensors"]);
  });

  it("writes a file of no rows", async () => {
    const writer = await createSafetensorsWriter(at("none.safetensors"), { tensors: columns });
    await writer.finish();
    const opened = await openSafetensors(at("none.safetensors"));
    expect(opened.tensors.get("features")!.shape).toEqual([0, 3]);
    await opened.close();
  });

  it("leaves what was there before on abort, on a full disk and on a signal, and no parts", async () => {
    writeFileSync(at("kept.safetensors"), "before");
    const untouched = () => {
      expect(left("kept.safetensors")).toEqual(["kept.safetensors"]);
      expect(readFileSync(at("kept.safetensors"), "utf8")).toBe("before");
    };
    const start = () => createSafetensorsWriter(at("kept.safetensors"), { tensors: columns });

    const aborted = await start();
    await aborted.append(rows(0, 10), 10);
    await aborted.abort();
    await aborted.abort();
    untouched();
    await expect(aborted.append(rows(0, 1), 1)).rejects.toMatchObject({ code: "CLOSED" });
    await expect(aborted.finish()).rejects.toMatchObject({ code: "CLOSED" });

    const full = await start();
    await full.append(rows(0, 10), 10);
    await fillDiskAfter(1);
    await expect(full.append(rows(10, 10), 10)).rejects.toMatchObject({ kind: "environment", code: "DISK_FULL" });
    vi.restoreAllMocks();
    untouched();

    const fullAtEnd = await start();
    await fullAtEnd.append(rows(0, 10), 10);
    await fillDiskAfter(2);
    await expect(fullAtEnd.finish()).rejects.toMatchObject({ code: "DISK_FULL" });
    vi.restoreAllMocks();
    untouched();

    const signalled = await start();
    await signalled.append(rows(0, 10), 10);
    await expect(signalled.finish({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
    untouched();

    await fillDiskAfter(0);
    const tensor = { dtype: "u8", shape: [1], data: new Uint8Array(1) } as const;
    await expect(writeSafetensors(at("kept.safetensors"), { tensor })).rejects.toMatchObject({ code: "DISK_FULL" });
    untouched();
  });

  it("refuses data that does not fit, and stays usable", async () => {
    const writer = await createSafetensorsWriter(at("fit.safetensors"), { tensors: columns });
    const bad: [object, number][] = [
      [{ ...rows(0, 2), times: new Float64Array(5) }, 2],
      [{ ...rows(0, 2), times: new Float32Array(4) }, 2],
      [{ features: new Float32Array(6), times: new Float64Array(4) }, 2],
      [rows(0, 2), 3],
      [rows(0, 0), -1],
    ];
    for (const [data, n] of bad)
      await expect(writer.append(data as never, n)).rejects.toMatchObject({ kind: "usage", code: "INVALID_OPTION" });
    await writer.append(rows(0, 2), 2);
    const first = writer.append(rows(2, 1), 1);
    await expect(writer.append(rows(3, 1), 1)).rejects.toMatchObject({ code: "WRITER_BUSY" });
    await first;
    await writer.finish();
    const opened = await openSafetensors(at("fit.safetensors"));
    expect(await opened.read("times")).toEqual(rows(0, 3).times);
    await opened.close();
  });

  it("refuses names, metadata and places that would give a bad file", async () => {
    const column = { dtype: "u8", rowShape: [] } as const;
    const code = (path: string, options: object) =>
      createSafetensorsWriter(path, options as never).then(
        () => "OK",
        (e) => e.code,
      );
    expect(await code(at("bad"), { tensors: { __metadata__: column } })).toBe("INVALID_OPTION");
    expect(await code(at("bad"), { tensors: { "\ud800": column } })).toBe("INVALID_OPTION");
    expect(await code(at("bad"), { tensors: {} })).toBe("INVALID_OPTION");
    expect(await code(at("bad"), { tensors: { a: column }, metadata: { a: 1 } })).toBe("INVALID_OPTION");
    expect(await code(at("bad"), { tensors: { a: column }, metadata: { a: "\udc00" } })).toBe("INVALID_OPTION");
    expect(await code(at("missing/bad"), { tensors: { a: column } })).toBe("OUTPUT_FOLDER_MISSING");
    mkdirSync(at("folder"));
    expect(await code(at("folder"), { tensors: { a: column } })).toBe("NOT_A_FILE");
    symlinkSync("/dev/null", at("null"));
    expect(await code(at("null"), { tensors: { a: column } })).toBe("NOT_A_FILE");
    expect(left("bad")).toEqual([]);
    expect(left("folder.")).toEqual([]);
  });

  it("lets one writer at a time have a name, and takes over from one that died", async () => {
    const options = { tensors: columns };
    const first = await createSafetensorsWriter(at("one.safetensors"), options);
    await first.append(rows(0, 1), 1);
    await expect(createSafetensorsWriter(at("one.safetensors"), options)).rejects.toMatchObject({
      code: "OUTPUT_BUSY",
    });
    await first.finish();

    const child = spawn(process.execPath, ["-e", ""]);
    await new Promise((resolve) => child.once("exit", resolve));
    writeFileSync(at("one.safetensors.partial"), JSON.stringify({ pid: child.pid, host: hostname() }));
    writeFileSync(at("one.safetensors.partial.0"), "rubbish");
    writeFileSync(at("one.safetensors.partial.whole"), "rubbish");
    const second = await createSafetensorsWriter(at("one.safetensors"), options);
    await second.append(rows(0, 2), 2);
    await second.finish();
    expect(left("one.safetensors")).toEqual(["one.safetensors"]);
    const opened = await openSafetensors(at("one.safetensors"));
    expect(await opened.read("features")).toEqual(rows(0, 2).features);
    await opened.close();

    writeFileSync(at("one.safetensors.partial"), JSON.stringify({ pid: child.pid, host: "elsewhere" }));
    await expect(createSafetensorsWriter(at("one.safetensors"), options)).rejects.toMatchObject({
      code: "OUTPUT_BUSY",
    });
  });
});
