import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

it("pins every dependency by its hash and names no registry, so that any mirror serves", () => {
  const text = readFileSync(new URL("../../pnpm-lock.yaml", import.meta.url), "utf8");
  expect(text).not.toMatch(/:\/\/|tarball:/);
  const resolutions = text.match(/^ {4}resolution:.*$/gm) ?? [];
  expect(resolutions.length).toBeGreaterThan(0);
  for (const resolution of resolutions) expect(resolution).toMatch(/\{integrity: sha512-[\w+/=]+\}/);
});
