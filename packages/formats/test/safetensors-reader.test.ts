import { createHash } from "node:crypto";
import { truncateSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { openSafetensors, sha256File } from "../src/index.js";
import { file, save, temporaryFolder, tensor } from "./helpers.js";

const at = temporaryFolder();

function bytesOf(...parts: ArrayBufferView[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((p) => [...new Uint8Array(p.buffer, p.byteOffset, p.byteLength)]));
}

async function write(name: string, header: object, data: Uint8Array): Promise<string> {
  const bytes = file(header, data.length);
  bytes.set(data, bytes.length - data.length);
  return save(at(name), bytes);
}

describe("openSafetensors", () => {
  it("reads every dtype it knows, at offsets that are not aligned, of rank 0 and of size 0", async () => {
    const f32 = Float32Array.of(1.5, -2, Number.NaN, Number.POSITIVE_INFINITY, -0, 1e-40);
    const f64 = Float64Array.of(Math.PI);
    const i64 = BigInt64Array.of(-(2n ** 63n), 2n ** 53n + 1n);
    const i32 = Int32Array.of(-1, 2 ** 31 - 1);
    const u16 = Uint16Array.of(65535);
    const bf16 = Uint16Array.of(0x3f80, 0xc040);
    const f16 = Uint16Array.of(0x3c00, 0x0001, 0x7c00);
    const path = await write(
      "all.safetensors",
      {
        u8: tensor("U8", [3], 0, 3),
        f32: tensor("F32", [3, 2], 3, 27),
        scalar: tensor("F64", [], 27, 35),
        i64: tensor("I64", [2], 35, 51),
        i32: tensor("I32", [1, 2], 51, 59),
        u16: tensor("U16", [1], 59, 61),
        bf16: tensor("BF16", [2], 61, 65),
        none: tensor("F32", [4, 0], 65, 65),
        f16: tensor("F16", [3], 65, 71),
        __metadata__: { format: "pt", ключ: "значение" },
      },
      bytesOf(Uint8Array.of(1, 2, 255), f32, f64, i64, i32, u16, bf16, f16),
    );
    const opened = await openSafetensors(path);
    expect(opened.metadata).toEqual({ format: "pt", ключ: "значение" });
    expect([...opened.tensors.keys()].sort()).toEqual([
      "bf16",
      "f16",
      "f32",
      "i32",
      "i64",
      "none",
      "scalar",
      "u16",
      "u8",
    ]);
    expect(await opened.read("u8")).toEqual(Uint8Array.of(1, 2, 255));
    expect(await opened.read("f32")).toEqual(f32);
    expect(await opened.read("scalar")).toEqual(f64);
    expect(await opened.read("i64")).toEqual(i64);
    expect(await opened.read("i32")).toEqual(i32);
    expect(await opened.read("u16")).toEqual(u16);
    expect(await opened.read("bf16")).toEqual(bf16);
    expect(await opened.read("none")).toEqual(new Float32Array(0));
    expect(opened.tensors.get("none")).toMatchObject({
      dtype: "f32",
      storedDtype: "F32",
      shape: [4, 0],
      byteLength: 0,
    });
    expect(await opened.readFloat32("bf16")).toEqual(Float32Array.of(1, -3));
    expect(await opened.readFloat32("f16")).toEqual(Float32Array.of(1, 2 ** -24, Number.POSITIVE_INFINITY));
    expect(await opened.readFloat32("scalar")).toEqual(Float32Array.of(Math.fround(Math.PI)));
    expect(await opened.readFloat32("f32")).toEqual(f32);
    expect(await opened.readRows("f32", 1, 3)).toEqual(f32.slice(2));
    expect(await opened.readRows("none", 1, 4)).toEqual(new Float32Array(0));
    for (const [name, from, to] of [
      ["f32", 2, 4],
      ["f32", 2, 1],
      ["f32", -1, 1],
      ["f32", 0.5, 1],
      ["scalar", 0, 1],
    ] as const)
      await expect(opened.readRows(name, from, to)).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await expect(opened.read("f33")).rejects.toMatchObject({ kind: "usage", code: "TENSOR_NOT_FOUND" });
    await expect(opened.readFloat32("i32")).rejects.toMatchObject({ code: "DTYPE_UNSUPPORTED" });
    await expect(opened.read("f32", { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
    await opened.close();
    await opened.close();
    await expect(opened.read("f32")).rejects.toMatchObject({ code: "CLOSED" });
  });

  it("lists dtypes it cannot read and refuses to read them", async () => {
    const names = { BOOL: 1, I8: 1, I16: 2, U32: 4, U64: 8, C64: 8, F8_E5M2: 1, F8_E4M3: 1, F8_E8M0: 1 };
    for (const [dtype, size] of Object.entries(names)) {
      const path = await write("odd.safetensors", { a: tensor(dtype, [3], 0, 3 * size) }, new Uint8Array(3 * size));
      const opened = await openSafetensors(path);
      expect(opened.tensors.get("a")).toMatchObject({ dtype: undefined, storedDtype: dtype, shape: [3] });
      await expect(opened.read("a")).rejects.toMatchObject({ kind: "input", code: "DTYPE_UNSUPPORTED" });
      await opened.close();
    }
    for (const [dtype, elements, bytes] of [
      ["F4", 4, 2],
      ["F6_E2M3", 4, 3],
      ["F6_E3M2", 8, 6],
    ] as const) {
      const path = await write("odd.safetensors", { a: tensor(dtype, [elements], 0, bytes) }, new Uint8Array(bytes));
      await (await openSafetensors(path)).close();
    }
  });

  it("takes a header padded with spaces, one of no tensors, and one whose length looks like a pickle", async () => {
    const padded = await openSafetensors(
      await save(at("p.safetensors"), file('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}   ', 1)),
    );
    expect(padded.tensors.size).toBe(1);
    await padded.close();
    const none = await openSafetensors(await save(at("n.safetensors"), file("{}")));
    expect(none.tensors.size).toBe(0);
    await none.close();
    const long = await openSafetensors(await save(at("l.safetensors"), file("{}".padEnd(0x0280))));
    await long.close();
  });

  it("notices a file that changes under it", async () => {
    const path = await write("change.safetensors", { a: tensor("U8", [100], 0, 100) }, new Uint8Array(100));
    const opened = await openSafetensors(path);
    truncateSync(path, 120);
    await expect(opened.read("a")).rejects.toMatchObject({ kind: "input", code: "FILE_CHANGED" });
    await opened.close();
  });

  it("checks its own options", async () => {
    await expect(openSafetensors(at("x"), { limit: 1 } as object)).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await expect(openSafetensors(at("x"), { limits: { maxTensors: -1 } })).rejects.toMatchObject({
      code: "INVALID_OPTION",
    });
  });
});

describe("sha256File", () => {
  it("equals the digest of the whole, also past one piece", async () => {
    for (const size of [1, 2 ** 20 - 1, 2 ** 20, 2 ** 20 + 1, 3_000_000]) {
      const bytes = new Uint8Array(size).map((_, i) => i * 31);
      writeFileSync(at("sum"), bytes);
      expect(await sha256File(at("sum"))).toBe(createHash("sha256").update(bytes).digest("hex"));
    }
    await expect(sha256File(at("none"))).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
    await expect(sha256File(at("sum"), { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });
});
