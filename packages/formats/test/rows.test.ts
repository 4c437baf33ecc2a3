import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { createNpyWriter, createSafetensorsWriter, hasPartial, openNpy, openPartial } from "../src/index.js";
import { temporaryFolder } from "./helpers.js";

const at = temporaryFolder();
const left = (prefix: string) => readdirSync(dirname(at("x"))).filter((name) => name.startsWith(prefix));
const tensors = {
  features: { dtype: "f32", rowShape: [2] },
  times: { dtype: "f64", rowShape: [2] },
  modality: { dtype: "u8", rowShape: [] },
} as const;
const rows = (from: number, n: number) => ({
  features: Float32Array.from({ length: 2 * n }, (_, i) => from * 2 + i),
  times: Float64Array.from({ length: 2 * n }, (_, i) => (from * 2 + i) / 3),
  modality: Uint8Array.from({ length: n }, (_, i) => from + i),
});

describe("rows that were left", () => {
  it("are read by any of their names, as far as every tensor has them", async () => {
    const path = at("left.safetensors");
    const writer = await createSafetensorsWriter(path, { tensors, metadata: { note: "ü" } });
    await writer.append(rows(0, 5), 5);
    await writer.flush();
    expect(await hasPartial(path)).toBe(true);
    await writer.leave();
    truncateSync(`${path}.partial.1`, 4 * 16 + 3); // a row that was cut while it was written
    for (const name of [path, `${path}.partial`, `${path}.partial.1`]) {
      await using partial = await openPartial(name);
      expect(partial).toMatchObject({ target: path, rows: 4, metadata: { note: "ü" } });
      expect(partial.tensors.get("features")).toEqual({ dtype: "f32", shape: [4, 2] });
      expect(await partial.readRows("times", 1, 4)).toEqual(rows(1, 3).times);
      await expect(partial.readRows("times", 1, 5)).rejects.toMatchObject({ code: "INVALID_OPTION" });
      await expect(partial.readRows("none", 0, 1)).rejects.toMatchObject({ code: "TENSOR_NOT_FOUND" });
    }
  });

  it("are gone on with, which gives the file of one run", async () => {
    for (const [name, create] of [
      ["safetensors", createSafetensorsWriter],
      ["npy", createNpyWriter],
    ] as const) {
      const whole = await create(at(`whole.${name}`), { tensors });
      await whole.append(rows(0, 9), 9);
      await whole.finish();
      const path = at(`again.${name}`);
      const first = await create(path, { tensors });
      await first.append(rows(0, 6), 6);
      await first.leave();
      await expect(create(path, { tensors, resumeRows: 7 })).rejects.toMatchObject({ code: "PARTIAL_INVALID" });
      const second = await create(path, { tensors, resumeRows: 4 });
      expect(second.rows).toBe(4);
      await second.append(rows(4, 5), 5);
      await second.finish();
      for (const file of left("whole.")) {
        const twin = at(file.replace("whole", "again"));
        expect(readFileSync(twin).equals(readFileSync(at(file))), file).toBe(true);
      }
      expect(left("again.").some((file) => file.includes("partial"))).toBe(false);
    }
  });

  it("survive a process that was killed, and can be deleted", async () => {
    const path = at("killed.safetensors");
    const script = `
      import { createSafetensorsWriter } from ${JSON.stringify(pathToFileURL(new URL("../dist/index.js", import.meta.url).pathname).href)};
      const writer = await createSafetensorsWriter(${JSON.stringify(path)}, { tensors: { a: { dtype: "u8", rowShape: [] } } });
      await writer.append({ a: Uint8Array.of(1, 2, 3) }, 3);
      process.kill(process.pid, "SIGKILL");`;
    expect(spawnSync(process.execPath, ["--input-type=module", "-e", script]).signal).toBe("SIGKILL");
    await using partial = await openPartial(path);
    expect([...(await partial.readRows("a", 0, partial.rows))]).toEqual([1, 2, 3]);
    const writer = await createSafetensorsWriter(path, {
      tensors: { a: { dtype: "u8", rowShape: [] } },
      resumeRows: 2,
    });
    await writer.abort();
    expect(left("killed")).toEqual([]);
  });

  it("with a manifest that is damaged or another's are refused", async () => {
    const path = at("odd.safetensors");
    const manifest = {
      format: "krait.partial",
      version: 1,
      tensors: [{ name: "a", dtype: "u8", rowShape: [] }],
      metadata: {},
    };
    writeFileSync(`${path}.partial.0`, "abc");
    writeFileSync(`${path}.partial`, JSON.stringify({ pid: null, ...manifest }));
    await using sound = await openPartial(path);
    expect(sound.rows).toBe(3);
    const bad: [unknown, string][] = [
      [{ ...manifest, version: 2 }, "PARTIAL_INVALID"],
      [{ ...manifest, tensors: [] }, "PARTIAL_INVALID"],
      [{ ...manifest, tensors: [{ name: "a", dtype: "i7", rowShape: [] }] }, "PARTIAL_INVALID"],
      [{ ...manifest, tensors: [{ name: "a", dtype: "u8", rowShape: [-1] }] }, "PARTIAL_INVALID"],
      [{ pid: 1, host: "x" }, "PARTIAL_INVALID"],
      ["{", "JSON_SYNTAX"],
    ];
    for (const [json, code] of bad) {
      writeFileSync(`${path}.partial`, typeof json === "string" ? json : JSON.stringify(json));
      await expect(openPartial(path), JSON.stringify(json)).rejects.toMatchObject({ kind: "input", code });
    }
    await expect(openPartial(at("none"))).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
  });
});

describe("npy files", () => {
  /** As numpy.save writes it. */
  const numpy = (dict: string, data: Uint8Array, version = 1) => {
    const preamble = version === 1 ? 10 : 12;
    const length = Math.ceil((preamble + dict.length + 1) / 64) * 64 - preamble;
    const head = Buffer.concat([
      Buffer.from([0x93, ...Buffer.from("NUMPY"), version, 0, length & 0xff, length >> 8]),
      Buffer.alloc(preamble - 10),
      Buffer.from(`${dict.padEnd(length - 1)}\n`, "latin1"),
    ]);
    return Buffer.concat([head, data]);
  };
  const bytes = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);

  it("are the bytes that NumPy writes, one file per tensor", async () => {
    const writer = await createNpyWriter(at("n.npy"), { tensors });
    await writer.append(rows(0, 3), 3);
    await writer.finish();
    expect(left("n.")).toEqual(["n.modality.npy", "n.npy", "n.times.npy"]);
    const dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }";
    expect(readFileSync(at("n.npy")).equals(numpy(dict, bytes(0, 1, 2, 3, 4, 5)))).toBe(true);
    const codes = "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }";
    expect(readFileSync(at("n.modality.npy")).equals(numpy(codes, Uint8Array.of(0, 1, 2)))).toBe(true);
    await using times = await openNpy(at("n.times.npy"));
    expect(times).toMatchObject({ dtype: "f64", shape: [3, 2] });
    expect(await times.readRows(1, 3)).toEqual(rows(1, 2).times);
    await expect(times.readRows(1, 4)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });

  it("of every version and spelling that NumPy knows are read", async () => {
    const dicts = [
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }",
      "{'shape': (1,2), 'fortran_order': False, 'descr': '<f4'}",
      '{"descr": "<f4", "fortran_order": False, "shape": (1, 2)}',
    ];
    for (const version of [1, 2, 3]) {
      for (const dict of dicts) {
        writeFileSync(at("v.npy"), numpy(dict, bytes(7, 8), version));
        await using file = await openNpy(at("v.npy"));
        expect([...(await file.readRows(0, 1))], `${version} ${dict}`).toEqual([7, 8]);
      }
    }
  });

  it("that are none, cut, or hold what cannot be read are refused", async () => {
    const good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
    const bad: Buffer[] = [
      numpy(good, bytes(1)),
      numpy(good, bytes(1, 2, 3)),
      numpy(good.replace("<f4", "|O"), bytes(1, 2)),
      numpy(good.replace("<f4", ">f4"), bytes(1, 2)),
      numpy(good.replace("(1, 2)", "(-1, -2)"), bytes(1, 2)),
      numpy(good.replace("(1, 2)", "(9007199254740993, 2)"), bytes(1, 2)),
      numpy(good.replace("False", "True"), bytes(1, 2)),
      numpy(good.replace("'shape'", "'descr'"), bytes(1, 2)),
      numpy(good.replace("}", "'evil': '1'}"), bytes(1, 2)),
      numpy("__import__('os')", bytes(1, 2)),
      numpy(good, bytes(1, 2)).subarray(0, 40),
      Buffer.from("\x93NUMPY", "latin1"),
      Buffer.from("no numbers at all"),
    ];
    for (const [i, content] of bad.entries()) {
      writeFileSync(at("bad.npy"), content);
      await expect(openNpy(at("bad.npy")), String(i)).rejects.toMatchObject({ kind: "input", code: "NPY_INVALID" });
    }
    const half = { a: { dtype: "bf16", rowShape: [] } } as const;
    await expect(createNpyWriter(at("half.npy"), { tensors: half })).rejects.toThrow("NumPy");
  });
});
