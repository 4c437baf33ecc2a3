import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type DownloadProgress, downloadModel, inspectModel } from "../src/index.js";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const ID = "some-lab/tiny-model";
const fixture = (model: string) => fileURLToPath(new URL(`../../nn/test/fixtures/models/${model}`, import.meta.url));

/** A hub of one model: the same routes and headers as the real one, as far as they are used. */
class Hub {
  readonly files = new Map<string, Buffer>();
  /** `GET path range` of every request. */
  readonly log: string[] = [];
  /** Connections to cut after so many bytes of a weight file. */
  cuts: number[] = [];
  /** Sent instead of what is published. */
  readonly spoiled = new Map<string, Buffer>();
  private server: Server | undefined;

  async start(): Promise<string> {
    this.server = createServer((request, response) => {
      const url = new URL(request.url!, "http://hub");
      const range = request.headers.range;
      this.log.push(`${url.pathname}${range ? ` ${range}` : ""}`);
      const json = (value: unknown) =>
        response.setHeader("Content-Type", "application/json").end(JSON.stringify(value));
      const [, revision] = new RegExp(`^/api/models/${ID}/revision/(.+)$`).exec(url.pathname) ?? [];
      if (revision === "main" || revision === "v1" || revision === COMMIT)
        return json({ _id: "1", id: ID, sha: COMMIT, lastModified: "2026-01-01T00:00:00.000Z" });
      if (url.pathname === `/api/models/${ID}/tree/${COMMIT}`)
        return json([...this.files].map(([path, data]) => ({ type: "file", path, size: data.length, oid: "0" })));
      const name = new RegExp(`^/${ID}/resolve/${COMMIT}/(.+)$`).exec(url.pathname)?.[1];
      const published = name === undefined ? undefined : this.files.get(name);
      if (!published) return void response.writeHead(404, { "X-Error-Code": "EntryNotFound" }).end("{}");
      const data = this.spoiled.get(name!) ?? published;
      const large = name!.endsWith(".safetensors");
      const etag = large
        ? createHash("sha256").update(published).digest("hex")
        : createHash("sha1").update(`blob ${published.length}\0`).update(published).digest("hex");
      const [from, to] = (/^bytes=(\d+)-(\d*)$/.exec(range ?? "")?.slice(1) ?? ["0", ""]).map(Number) as [
        number,
        number,
      ];
      const end = to ? to + 1 : range === "bytes=0-0" ? 1 : data.length;
      response.writeHead(range ? 206 : 200, {
        [large ? "X-Linked-ETag" : "ETag"]: `"${etag}"`,
        ...(range && { "Content-Range": `bytes ${from}-${end - 1}/${data.length}` }),
        "Content-Length": end - from,
      });
      const cut = large && end - from > 1 ? this.cuts.shift() : undefined;
      if (cut === undefined) return void response.end(data.subarray(from, end));
      response.write(data.subarray(from, from + cut), () => response.destroy());
    });
    await new Promise<void>((resolve) => this.server!.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async hold(model: string): Promise<void> {
    for (const name of await readdir(fixture(model)))
      if (name !== "golden.safetensors") this.files.set(name, await readFile(join(fixture(model), name)));
  }

  close(): void {
    this.server?.closeAllConnections();
    this.server?.close();
  }
}

let hub: Hub;
let hubUrl: string;
let cacheFolder: string;
beforeEach(async () => {
  hub = new Hub();
  hubUrl = await hub.start();
  cacheFolder = await mkdtemp(join(tmpdir(), "krait-download-"));
});
afterEach(async () => {
  hub.close();
  await rm(cacheFolder, { recursive: true, force: true });
});

const weights = "model.safetensors";
const bodies = () => hub.log.filter((line) => line.includes("/resolve/") && !line.endsWith(" bytes=0-0"));

test("fetches what a model needs, once, into a folder that loads, and serves it offline", async () => {
  await hub.hold("mamba2_bf16");
  hub.files.set("tokenizer.json", Buffer.from("{}"));
  hub.files.set("pytorch_model.bin", Buffer.from("a pickle"));
  hub.files.set("README.md", Buffer.from("# words"));
  const seen: DownloadProgress[] = [];
  const first = await downloadModel(ID, { hubUrl, cacheFolder, onProgress: (p) => seen.push({ ...p }) });
  expect(first).toMatchObject({ commit: COMMIT, files: ["config.json", weights, "tokenizer.json"] });
  expect(first.fetchedBytes).toBe(first.bytes);
  expect((await inspectModel(first.folder)).family).toBe("mamba2");
  expect(hub.files.get(weights)!.equals(await readFile(join(first.folder, weights)))).toBe(true);
  // The layout of the hub's own cache: blobs by hash, and links to them.
  const hash = createHash("sha256").update(hub.files.get(weights)!).digest("hex");
  expect(basename(await realpath(join(first.folder, weights)))).toBe(hash);
  expect(seen.at(-1)).toMatchObject({ bytes: first.bytes, totalBytes: first.bytes });
  seen.reduce((before, { bytes }) => {
    expect(bytes).toBeGreaterThanOrEqual(before);
    return bytes;
  }, 0);

  hub.log.length = 0;
  const second = await downloadModel(ID, { hubUrl, cacheFolder, revision: "v1" });
  expect(second).toMatchObject({ folder: first.folder, fetchedBytes: 0 });
  expect(bodies()).toEqual([]);

  hub.log.length = 0;
  for (const revision of ["main", "v1", COMMIT]) {
    const offline = await downloadModel(ID, { hubUrl, cacheFolder, offline: true, revision });
    expect(offline).toMatchObject({ folder: first.folder, files: first.files });
  }
  expect(hub.log).toEqual([]);
  const unknown = downloadModel(ID, { hubUrl, cacheFolder, offline: true, revision: "v2" });
  await expect(unknown).rejects.toMatchObject({ code: "MODEL_NOT_CACHED", kind: "input" });
});

test("goes on where a connection ended, and where an earlier run was aborted", async () => {
  await hub.hold("mamba2_bf16");
  const { length } = hub.files.get(weights)!;
  hub.cuts = [1000, 5000];
  const { folder } = await downloadModel(ID, { hubUrl, cacheFolder });
  expect(hub.files.get(weights)!.equals(await readFile(join(folder, weights)))).toBe(true);
  const ranges = bodies()
    .filter((line) => line.includes(weights))
    .map((line) => line.split(" ")[1]);
  expect(ranges).toEqual([undefined, "bytes=1000-", "bytes=6000-"]);

  const other = join(cacheFolder, "other");
  const abort = new AbortController();
  hub.cuts = [2000];
  const aborted = downloadModel(ID, {
    hubUrl,
    cacheFolder: other,
    signal: abort.signal,
    onProgress: ({ file, bytes }) => file === weights && bytes > 2000 && abort.abort(),
  });
  await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
  const offline = downloadModel(ID, { hubUrl, cacheFolder: other, offline: true });
  await expect(offline).rejects.toMatchObject({ code: "MODEL_NOT_CACHED" });
  hub.log.length = 0;
  const { bytes, fetchedBytes } = await downloadModel(ID, { hubUrl, cacheFolder: other });
  expect(fetchedBytes).toBeLessThan(bytes);
  expect(bodies().at(-1)).toMatch(/ bytes=2000-$/);
  expect(length).toBeGreaterThan(6000);
});

test("fetches the shards that an index names", async () => {
  await hub.hold("bamba_sharded");
  const { folder, files } = await downloadModel(ID, { hubUrl, cacheFolder });
  expect(files.filter((name) => name.startsWith("model-"))).toHaveLength(5);
  expect((await inspectModel(folder)).family).toBe("bamba");
  // A shard that was lost since is missed offline.
  await rm(join(folder, "model-00003-of-00005.safetensors"));
  const offline = downloadModel(ID, { hubUrl, cacheFolder, offline: true });
  await expect(offline).rejects.toMatchObject({ code: "MODEL_NOT_CACHED", message: expect.stringContaining("00003") });
});

test("keeps nothing that is not what was published", async () => {
  await hub.hold("mamba2_bf16");
  for (const name of ["config.json", weights]) {
    const wrong = Buffer.from(hub.files.get(name)!);
    wrong[wrong.length >> 1]! ^= 1;
    hub.spoiled.set(name, wrong);
    await expect(downloadModel(ID, { hubUrl, cacheFolder })).rejects.toMatchObject({ code: "DOWNLOAD_CORRUPT" });
    hub.spoiled.clear();
  }
  const { folder } = await downloadModel(ID, { hubUrl, cacheFolder });
  expect(hub.files.get(weights)!.equals(await readFile(join(folder, weights)))).toBe(true);
});

test("refuses pickles, indices that lead elsewhere, and what is not there", async () => {
  const fails = (code: string, message: string) =>
    expect(downloadModel(ID, { hubUrl, cacheFolder })).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
      hint: expect.any(String),
    });
  hub.files.set("config.json", Buffer.from("{}"));
  await fails("MODEL_NOT_FOUND", weights);
  hub.files.set("pytorch_model.bin", Buffer.from("a pickle"));
  await fails("PICKLE_REFUSED", "pytorch_model.bin");
  const index = (name: unknown) =>
    hub.files.set("model.safetensors.index.json", Buffer.from(JSON.stringify({ weight_map: { a: name } })));
  for (const name of ["../../outside.safetensors", "/etc/passwd", "model.bin", 7]) {
    index(name);
    await fails("INVALID_INDEX", "weight_map");
  }
  index("model-00001.safetensors");
  await fails("INVALID_INDEX", "model-00001.safetensors");
  const missing = downloadModel("some-lab/other", { hubUrl, cacheFolder });
  await expect(missing).rejects.toMatchObject({ code: "MODEL_NOT_FOUND", hint: expect.stringContaining("HF_TOKEN") });
  for (const id of ["tiny", "../x/y", "a/b/c", "a/..", ""])
    await expect(downloadModel(id, { hubUrl, cacheFolder })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  const outside = downloadModel(ID, { hubUrl, cacheFolder, revision: "../x" });
  await expect(outside).rejects.toMatchObject({ code: "INVALID_OPTION" });
});

test("says so when there is no hub, and when the cache cannot be written", async () => {
  await hub.hold("mamba2_bf16");
  await writeFile(join(cacheFolder, "taken"), "");
  await mkdir(join(cacheFolder, "free"));
  const blocked = downloadModel(ID, { hubUrl, cacheFolder: join(cacheFolder, "taken") });
  await expect(blocked).rejects.toMatchObject({ code: "OUTPUT_NOT_WRITABLE", kind: "environment" });
  hub.close();
  const gone = downloadModel(ID, { hubUrl, cacheFolder: join(cacheFolder, "free") });
  await expect(gone).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", kind: "environment" });
});
