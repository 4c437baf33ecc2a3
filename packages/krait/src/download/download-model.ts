import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { AbortedError, expected, InputError, KraitError, parseOptions, throwIfAborted, UsageError } from "@krait/core";
import { parseStrictJson } from "@krait/formats";
import { z } from "zod";
import { CachedRepository, commitPattern, defaultCacheFolder } from "./cache.js";
import { diskError, failed, fetchBlob } from "./fetch-blob.js";

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";
/** What a model needs besides its weights, where it has them. */
const companions = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "preprocessor_config.json",
];
/** Times that a question is asked, and milliseconds before the second time. */
const QUESTIONS = 3;
const PAUSE = 200;
const shardName = /^\w[\w.-]*\.safetensors$/;

const schema = z.strictObject({
  /** Branch, tag or commit. */
  revision: z
    .string()
    .regex(/^\w[\w./-]*$/)
    .refine((text) => !text.includes(".."))
    .default("main"),
  /** The hub's own cache when absent: HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub. */
  cacheFolder: z.string().min(1).optional(),
  /** Serves from the cache alone. HF_HUB_OFFLINE=1 asks for it as well. */
  offline: z.boolean().optional(),
  /** For private and gated models; HF_TOKEN when absent. */
  token: z.string().min(1).optional(),
  hubUrl: z.url().optional(),
  fetch: z.custom<typeof fetch>((value) => typeof value === "function").optional(),
  onProgress: z.custom<(progress: DownloadProgress) => void>((value) => typeof value === "function").optional(),
  signal: z.instanceof(AbortSignal).optional(),
});
export type DownloadOptions = z.input<typeof schema>;

export interface DownloadProgress {
  /** The file that is on its way. */
  file: string;
  /** Of all files, those of the cache included. */
  bytes: number;
  totalBytes: number;
  elapsedSeconds: number;
}

export interface DownloadResult {
  /** Holds the files by their names: what `loadLanguageModel` and `inspectModel` take. */
  folder: string;
  /** The commit that the revision stands for. */
  commit: string;
  files: string[];
  /** Of all files. */
  bytes: number;
  /** That came over the network just now. */
  fetchedBytes: number;
}

interface Remote {
  name: string;
  bytes: number;
  hash: string;
  url: string;
}

/**
 * Fetches a published model into the hub's cache: config, tokenizer and safetensors, never pickles. What is there already is not
 * fetched again, what was interrupted goes on where it stopped, and every file is held to its hash.
 *
 * @param id ORGANISATION/NAME
 * @throws UsageError (INVALID_OPTION), InputError (MODEL_NOT_FOUND, MODEL_NOT_CACHED, PICKLE_REFUSED, INVALID_INDEX, DOWNLOAD_CORRUPT),
 * EnvironmentError (DOWNLOAD_FAILED, DISK_FULL, OUTPUT_NOT_WRITABLE), AbortedError
 */
export async function downloadModel(id: string, options: DownloadOptions = {}): Promise<DownloadResult> {
  const parsed = parseOptions(schema, options, "downloadModel()");
  if (typeof id !== "string" || !/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(id)) {
    throw new UsageError(expected("ORGANISATION/NAME", "a model", id), {
      code: "INVALID_OPTION",
      hint: "As the hub shows it: state-spaces/mamba-130m-hf. A folder of this machine needs no download.",
    });
  }
  const repository = new CachedRepository(parsed.cacheFolder ?? defaultCacheFolder(), id);
  const offline = parsed.offline ?? process.env.HF_HUB_OFFLINE === "1";
  return offline
    ? fromCache(id, repository, parsed.revision)
    : await new Download(id, repository, parsed, await import("@huggingface/hub")).run();
}

async function fromCache(id: string, repository: CachedRepository, revision: string): Promise<DownloadResult> {
  const commit = await repository.commitOf(revision);
  const missing = (what: string) =>
    new InputError(expected(what, `${id} (${revision}) in the cache`, undefined), {
      code: "MODEL_NOT_CACHED",
      hint: "Download it once with a network: krait download.",
    });
  if (commit === undefined) throw missing("an earlier download");
  const folder = repository.snapshot(commit);
  const names = ["config.json"];
  if (await repository.holds(commit, SINGLE)) names.push(SINGLE);
  else if (await repository.holds(commit, INDEX)) names.push(INDEX, ...(await shardsOf(join(folder, INDEX))));
  else throw missing(`${SINGLE} or ${INDEX}`);
  for (const name of names) if (!(await repository.holds(commit, name))) throw missing(name);
  for (const name of companions) if (!names.includes(name) && (await repository.holds(commit, name))) names.push(name);
  return { folder, commit, files: names.sort(), bytes: 0, fetchedBytes: 0 };
}

class Download {
  private readonly began = performance.now();
  private readonly hub: {
    repo: { type: "model"; name: string };
    hubUrl?: string;
    fetch: typeof fetch;
    accessToken?: string;
  };
  private readonly fetch: typeof fetch;
  private readonly remotes: Remote[] = [];
  private done = 0;
  private fetched = 0;

  constructor(
    private readonly id: string,
    private readonly repository: CachedRepository,
    private readonly options: z.output<typeof schema>,
    /** Loaded for a download alone: everything else does without. */
    private readonly library: typeof import("@huggingface/hub"),
  ) {
    const { hubUrl, token = process.env.HF_TOKEN, fetch: own = fetch, signal } = options;
    // An abort reaches the library's requests as well.
    this.fetch = (input, init) => own(input, { ...init, ...(signal && { signal }) });
    this.hub = {
      repo: { type: "model", name: id },
      fetch: patient(this.fetch, signal),
      ...(hubUrl !== undefined && { hubUrl: hubUrl.replace(/\/+$/, "") }),
      ...(token && { accessToken: token }),
    };
  }

  async run(): Promise<DownloadResult> {
    const { repository, options } = this;
    const commit = await this.resolve();
    await repository.prepare(commit).catch((error) => Promise.reject(diskError(error, commit)));
    const listed = await this.list(commit);
    const names = companions.filter((name) => listed.has(name));
    if (!names.includes("config.json")) throw this.unusable("config.json", [...listed]);
    if (listed.has(SINGLE)) names.push(SINGLE);
    else if (listed.has(INDEX)) {
      await this.describe(commit, INDEX);
      await this.bring(commit);
      names.push(...(await shardsOf(join(repository.snapshot(commit), INDEX))));
    } else throw this.unusable(`${SINGLE} or ${INDEX}`, [...listed]);
    for (const name of names) await this.describe(commit, name);
    await this.bring(commit);
    await repository.remember(options.revision, commit);
    return {
      folder: repository.snapshot(commit),
      commit,
      files: this.remotes.map((r) => r.name).sort(),
      bytes: this.total,
      fetchedBytes: this.fetched,
    };
  }

  private get total(): number {
    return this.remotes.reduce((sum, r) => sum + r.bytes, 0);
  }

  private async resolve(): Promise<string> {
    const { repo: _, ...hub } = this.hub;
    const { revision } = this.options;
    const info = await this.ask(() =>
      this.library.modelInfo({ ...hub, name: this.id, revision, additionalFields: ["sha"] }),
    );
    const commit = info.sha;
    if (commit && commitPattern.test(commit)) return commit;
    throw failed(this.id, new Error("no commit came for the revision"));
  }

  private async list(commit: string): Promise<Set<string>> {
    return this.ask(async () => {
      const names = new Set<string>();
      for await (const { type, path } of this.library.listFiles({ ...this.hub, revision: commit }))
        if (type === "file") names.add(path);
      return names;
    });
  }

  /** Adds a file to what is to be there. */
  private async describe(commit: string, name: string): Promise<void> {
    const info = await this.ask(() => this.library.fileDownloadInfo({ ...this.hub, path: name, revision: commit }));
    if (!info) {
      throw new InputError(expected(`the file ${name}`, this.id, undefined), {
        code: "INVALID_INDEX",
        hint: "The index of the shards names it: tell who published the model.",
      });
    }
    const hash = /^(?:W\/)?"?([0-9a-f]{40}|[0-9a-f]{64})"?$/.exec(info.etag)?.[1];
    if (!hash) throw failed(`${this.id}/${name}`, new Error(`the tag ${info.etag} instead of a hash`));
    this.remotes.push({ name, bytes: info.size, hash, url: this.urlOf(commit, name) });
  }

  /** The plain address: a redirection may be signed, and stale when a long download goes on. */
  private urlOf(commit: string, name: string): string {
    return `${this.hub.hubUrl ?? "https://huggingface.co"}/${this.id}/resolve/${commit}/${name}`;
  }

  private async bring(commit: string): Promise<void> {
    const { repository, options, hub } = this;
    this.done = 0;
    for (const { name, bytes, hash, url } of this.remotes) {
      throwIfAborted(options.signal, "the download");
      const path = repository.blob(hash);
      const before = this.done;
      const tell = (here: number) => {
        this.done = before + here;
        options.onProgress?.({
          file: name,
          bytes: this.done,
          totalBytes: this.total,
          elapsedSeconds: (performance.now() - this.began) / 1000,
        });
      };
      if (!(await isWhole(path, bytes))) {
        let start: number | undefined;
        const onBytes = (here: number) => {
          start ??= here;
          tell(here);
        };
        const headers: Record<string, string> = hub.accessToken ? { Authorization: `Bearer ${hub.accessToken}` } : {};
        await this.ask(() =>
          fetchBlob({ url, path, bytes, hash, headers, fetch: this.fetch, signal: options.signal, onBytes }),
        );
        this.fetched += bytes - (start ?? 0);
      }
      tell(bytes);
      await repository.link(commit, name, hash);
    }
  }

  /** Errors of the library and of the network as ours. */
  private async ask<T>(body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      if (KraitError.is(error)) throw error;
      if (this.options.signal?.aborted) throw new AbortedError("the download", this.options.signal.reason);
      if (!(error instanceof this.library.HubApiError)) throw failed(this.id, error);
      const { statusCode: status } = error;
      if (status !== 401 && status !== 403 && status !== 404) throw failed(this.id, new Error(`status ${status}`));
      throw new InputError(
        expected("a model that may be read", `${this.id} (${this.options.revision})`, `status ${status}`),
        {
          code: "MODEL_NOT_FOUND",
          hint: "Check its name and revision; a private or gated model needs a token that may read it (HF_TOKEN).",
          cause: error,
        },
      );
    }
  }

  private unusable(what: string, names: readonly string[]): InputError {
    const pickle = names.find((name) => /\.(bin|pt|pth|ckpt|pkl)$/i.test(name));
    return new InputError(expected(what, `the files of ${this.id}`, pickle), {
      code: pickle ? "PICKLE_REFUSED" : "MODEL_NOT_FOUND",
      hint: pickle
        ? 'Pickles can run code when they are read. Look for a safetensors edition (of state-spaces models the one that ends in "-hf").'
        : "The repository holds no model that can be read.",
    });
  }
}

/** Asks again where no answer came: a connection that was kept may have been closed at the other end. */
function patient(own: typeof fetch, signal: AbortSignal | undefined): typeof fetch {
  return async (input, init) => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await own(input, init);
      } catch (error) {
        if (signal?.aborted || attempt === QUESTIONS) throw error;
        await wait(PAUSE * attempt);
      }
    }
  };
}

async function isWhole(path: string, bytes: number): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.size === bytes;
}

/** Plain file names alone: they become paths. */
async function shardsOf(indexPath: string): Promise<string[]> {
  const json = parseStrictJson(await readFile(indexPath), indexPath) as { weight_map?: Record<string, unknown> } | null;
  const names = [...new Set(Object.values(json?.weight_map ?? {}))];
  const wrong = names.find((name) => typeof name !== "string" || !shardName.test(name));
  if (names.length > 0 && wrong === undefined) return names as string[];
  throw new InputError(expected("names of .safetensors files in weight_map", indexPath, wrong), {
    code: "INVALID_INDEX",
    hint: "Tell who published the model.",
  });
}
