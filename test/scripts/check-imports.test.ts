import { describe, expect, it } from "vitest";
import { checkTree } from "../../scripts/lib/import-check.mjs";
import { plant, runScript } from "./run-script.js";

const manifest = (dependencies: string[], extra = {}) =>
  JSON.stringify({
    exports: { ".": "./dist/index.js" },
    dependencies: Object.fromEntries(dependencies.map((name) => [name, "*"])),
    ...extra,
  });

/** A small tree that keeps every rule. */
const clean = {
  "packages/core/package.json": manifest(["zod"]),
  "packages/core/src/index.ts": 'import { z } from "zod";\nimport fs from "node:fs";\nexport const a = [z, fs];\n',
  "packages/graph/package.json": manifest(["@krait/core", "left"], { devDependencies: { tool: "*" } }),
  "packages/graph/src/index.ts":
    'import { a } from "@krait/core";\nimport "left/sub";\nimport type { B } from "./b.js";\nexport { a, type B };\n',
  "packages/graph/src/b.ts": 'import { a } from "./index.js";\nexport type B = typeof a;\n',
  "packages/media/package.json": manifest(["@krait/core"]),
  "packages/media/src/index.ts": "export {};\n",
};

const plantTree = (change: Record<string, string>) => plant({ ...clean, ...change });

describe("check-imports", () => {
  it("accepts a tree that keeps the rules", () => {
    expect(checkTree(plantTree({}))).toEqual({ files: 4, packages: 3, problems: [] });
  });

  const graph = (line: string) => ({ "packages/graph/src/c.ts": `export const one = 1;\n${line}\n` });
  const breaches: [string, Record<string, string>, RegExp][] = [
    [
      "an import downwards",
      graph('import "@krait/media";'),
      /c\.ts:2 imports @krait\/media, but graph may import only/,
    ],
    ["a type import downwards", graph('import type { X } from "@krait/media";'), /graph may import only: core/],
    ["an import type downwards", graph('export type X = import("@krait/media").X;'), /graph may import only: core/],
    ["a re-export downwards", graph('export * from "@krait/media";'), /graph may import only: core/],
    [
      "a dynamic import downwards",
      graph('export const x = () => import("@krait/media");'),
      /graph may import only: core/,
    ],
    ["a deep import by name", graph('import "@krait/core/src/index.js";'), /which @krait\/core does not export/],
    ["a deep import by path", graph('import "../../core/src/index.js";'), /lies outside its package/],
    ["its own name", graph('import "@krait/graph";'), /imports its own package by name/],
    [
      "an undeclared dependency",
      graph('import "right";'),
      /imports right, which packages\/graph\/package\.json does not/,
    ],
    [
      "a development dependency",
      graph('import "tool";'),
      /imports tool, which packages\/graph\/package\.json does not/,
    ],
    [
      "an undeclared workspace package",
      { "packages/graph/package.json": manifest(["left"]) },
      /imports @krait\/core, which/,
    ],
    [
      "a second registry package in core",
      {
        "packages/core/package.json": manifest(["zod", "left"]),
        "packages/core/src/b.ts": 'import "left";\n',
      },
      /core may import only zod from the registry/,
    ],
    [
      "a cycle",
      {
        "packages/media/src/x.ts": 'import { y } from "./y.js";\nexport const x = y;\n',
        "packages/media/src/y.ts": 'export { z as y } from "./z.js";\n',
        "packages/media/src/z.ts": 'import { x } from "./x.js";\nexport const z = () => x;\n',
      },
      /packages\/media has an import cycle: src\/x\.ts → src\/y\.ts → src\/z\.ts → src\/x\.ts/,
    ],
    [
      "an unlisted package",
      { "packages/extra/package.json": manifest([]) },
      /packages\/extra is not in the list of layers/,
    ],
  ];
  it.each(breaches)("refuses %s", (_, change, message) => {
    const { problems } = checkTree(plantTree(change));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(message);
  });

  it("fails as a command, with file and line", () => {
    const { code, text } = runScript("check-imports.mjs", [`--root=${plantTree(graph('import "@krait/media";'))}`]);
    expect(text).toMatch(/packages\/graph\/src\/c\.ts:2 imports/);
    expect(code).toBe(1);
  });
});
