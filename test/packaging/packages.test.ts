import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { folders, type Packed, packAll, readManifest } from "./pack.js";

/** Unpacked bytes a package may have: JavaScript and declarations only. */
const sizeCeiling = 1024 * 1024;

let home: string;
let all: Packed[];
beforeAll(() => {
  ({ home, packed: all } = packAll());
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

function node(code: string) {
  const result = spawnSync(process.execPath, ["--input-type=module", "-e", code], { cwd: home, encoding: "utf8" });
  return { code: result.status, text: result.stdout + result.stderr };
}

describe.each(folders)("package %s", (folder) => {
  const { name, exports, bin } = readManifest(folder);
  const packed = () => all.find((entry) => entry.folder === folder)!;

  it("ships its compiled code and nothing else", () => {
    const strange = packed().files.filter(
      (file) =>
        !/^(package\.json|README\.md|LICENSE|bin\/[\w-]+\.js|workers\/[\w-]+\.mjs|dist\/[\w./-]+\.(js|d\.ts))$/.test(
          file,
        ),
    );
    expect(strange).toEqual([]);
    expect(packed().files.filter((file) => /(^|\/)(test|src)\/|\.test\./.test(file))).toEqual([]);
  });

  it("stays below the size ceiling", () => {
    expect(packed().unpackedSize).toBeLessThan(sizeCeiling);
  });

  it("is an ES module package with a licence", () => {
    expect(packed().manifest).toMatchObject({ type: "module", license: "Apache-2.0" });
  });

  it.each(Object.entries(exports))("has what it exports as %s", (_, targets) => {
    expect(Object.keys(targets)[0], "types come first, or TypeScript does not see them").toBe("types");
    for (const file of Object.values(targets)) expect(packed().files).toContain(file.replace("./", ""));
  });

  // A command runs when it is imported.
  it.each(bin ? [] : Object.keys(exports))("loads as installed: %s", (subpath) => {
    const specifier = name + subpath.slice(1);
    const { code, text } = node(`await import(${JSON.stringify(specifier)}); console.log("loaded");`);
    expect(text).toContain("loaded");
    expect(code).toBe(0);
  });

  it("has commands that exist and say what runs them", () => {
    for (const file of Object.values(bin ?? {})) {
      const path = join(home, "node_modules", name, file);
      expect(existsSync(path)).toBe(true);
      expect(readFileSync(path, "utf8")).toMatch(/^#!\/usr\/bin\/env node\n/);
    }
  });
});
