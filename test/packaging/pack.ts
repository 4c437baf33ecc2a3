import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const packages = fileURLToPath(new URL("../../packages", import.meta.url));

export interface Manifest {
  name: string;
  license?: string;
  type?: string;
  exports: Record<string, { types?: string; default?: string }>;
  bin?: Record<string, string>;
  dependencies?: Record<string, string>;
}

export interface Packed {
  folder: string;
  manifest: Manifest;
  /** Paths in the tarball, without the leading package/. */
  files: string[];
  /** Bytes once unpacked. */
  unpackedSize: number;
}

export const folders = readdirSync(packages).filter((name) => existsSync(join(packages, name, "package.json")));

export const readManifest = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(packages, folder, "package.json"), "utf8"));

function run(command: string, args: string[], cwd: string): string {
  const result = spawnSync(command, args, { cwd, encoding: "utf8" });
  if (result.status !== 0) throw new Error(`${command} ${args.join(" ")} failed:\n${result.stderr}`);
  return result.stdout;
}

/**
 * Packs every package and unpacks the tarballs as an install would: node_modules/<name> beside links to the
 * dependencies from the registry, so that what the tarballs lack is missed.
 */
export function packAll(): { home: string; packed: Packed[] } {
  for (const folder of folders) {
    if (!existsSync(join(packages, folder, "dist/index.js"))) {
      throw new Error(`Expected packages/${folder} to be compiled but it has no dist/index.js; run npm run setup`);
    }
  }
  const home = mkdtempSync(join(tmpdir(), "krait-packed-"));
  const modules = join(home, "node_modules");
  const sources = folders.map((folder) => join(packages, folder));
  const report = JSON.parse(
    run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", home, ...sources], home),
  ) as { name: string; filename: string; unpackedSize: number; files: { path: string }[] }[];

  const packed = folders.map((folder): Packed => {
    const manifest = readManifest(folder);
    const entry = report.find((candidate) => candidate.name === manifest.name);
    if (!entry) throw new Error(`npm pack said nothing of ${manifest.name}`);
    const target = join(modules, manifest.name);
    mkdirSync(target, { recursive: true });
    run("tar", ["-xzf", join(home, entry.filename.replace("@", "").replace("/", "-")), "--strip-components=1"], target);
    for (const dependency of Object.keys(manifest.dependencies ?? {})) linkDependency(folder, dependency, modules);
    return { folder, manifest, files: entry.files.map((file) => file.path), unpackedSize: entry.unpackedSize };
  });
  return { home, packed };
}

function linkDependency(folder: string, name: string, modules: string): void {
  if (folders.some((other) => readManifest(other).name === name)) return;
  const link = join(modules, name);
  if (existsSync(link)) return;
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync(realpathSync(join(packages, folder, "node_modules", name)), link);
}
