import { mkdir, readFile, readlink, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

/** Where the tools of the hub keep what they fetched, so that nothing is fetched twice. */
export function defaultCacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.HF_HUB_CACHE) return env.HF_HUB_CACHE;
  return join(env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface"), "hub");
}

/** One repository in the cache: blobs by their hash, a folder of links to them per commit, and the commits that names stand for. */
export class CachedRepository {
  private readonly folder: string;

  constructor(cacheFolder: string, id: string) {
    this.folder = join(cacheFolder, `models--${id.replace("/", "--")}`);
  }

  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  blob(hash: string): string {
    return join(this.folder, "blobs", hash);
  }

  async prepare(commit: string): Promise<void> {
    for (const folder of [join(this.folder, "blobs"), join(this.folder, "refs"), this.snapshot(commit)])
      await mkdir(folder, { recursive: true });
  }

  /** The commit that a branch or tag stood for when it was last looked up. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (commitPattern.test(revision)) return revision;
    const text = await readFile(this.ref(revision), "utf8").catch(() => undefined);
    return text !== undefined && commitPattern.test(text.trim()) ? text.trim() : undefined;
  }

  async remember(revision: string, commit: string): Promise<void> {
    if (commitPattern.test(revision)) return;
    await writeFile(this.ref(revision), commit);
  }

  /** Lets a file of a commit stand for a blob that is whole. */
  async link(commit: string, name: string, hash: string): Promise<void> {
    const path = join(this.snapshot(commit), name);
    const target = join("..", "..", "blobs", hash);
    if ((await readlink(path).catch(() => undefined)) === target) return;
    // Beside it first: a folder that is being read never lacks the file.
    const fresh = `${path}.${process.pid}`;
    await rm(fresh, { force: true });
    await symlink(target, fresh);
    await rename(fresh, path);
  }

  async holds(commit: string, name: string): Promise<boolean> {
    return (await stat(join(this.snapshot(commit), name)).catch(() => undefined))?.isFile() ?? false;
  }

  private ref(revision: string): string {
    return join(this.folder, "refs", revision.replaceAll("/", "--"));
  }
}

export const commitPattern = /^[0-9a-f]{40}$/;
