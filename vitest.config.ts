import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const packages = fileURLToPath(new URL("./packages", import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      { find: "@krait/runtime/conformance", replacement: `${packages}/runtime/src/conformance/index.ts` },
      { find: /^@krait\/([a-z]+)\/(.+)$/, replacement: `${packages}/$1/src/$2` },
      { find: /^@krait\/([a-z]+)$/, replacement: `${packages}/$1/src/index.ts` },
      { find: /^krait$/, replacement: `${packages}/krait/src/index.ts` },
      { find: /^krait\/([a-z]+)$/, replacement: `${packages}/krait/src/$1` },
    ],
  },
  test: {
    include: ["packages/*/test/**/*.test.ts", "test/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
