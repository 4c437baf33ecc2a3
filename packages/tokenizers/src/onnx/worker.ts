import { createRequire } from "node:module";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { AbortedError, EnvironmentError, expected, InputError, throwIfAborted, UsageError } from "@krait/core";
import type { WireTensor } from "./types.js";

export interface TensorMetadata {
  name: string;
  isTensor: boolean;
  type?: string;
  shape: (number | string)[];
}

export interface ModelMetadata {
  inputs: TensorMetadata[];
  outputs: TensorMetadata[];
}

type Outputs = Record<string, WireTensor>;
interface Running {
  done(): void;
  resolve(outputs: Outputs): void;
  reject(error: Error): void;
}

const script = new URL("../../workers/onnx-worker.mjs", import.meta.url);

/** A thread that holds one model. Runs go one after the other; the event loop stays free. */
export class OnnxWorker {
  readonly ready: Promise<ModelMetadata>;
  private readonly worker: Worker;
  private running: Running | undefined;
  /** Settles when the last run asked for has ended. */
  private last: Promise<void> = Promise.resolve();
  private dead: Error | undefined;
  private closing: Promise<void> | undefined;

  constructor(
    private readonly name: string,
    model: Uint8Array,
    threads: number,
  ) {
    this.worker = new Worker(script, { workerData: { runtime: runtimePath(), model, threads }, stdout: false });
    this.ready = new Promise((resolve, reject) => {
      this.worker.on("message", ({ ready, failed, outputs, error }) => {
        if (ready) resolve(ready);
        else if (failed !== undefined) reject(this.invalid(failed));
        else this.settle(outputs, error);
      });
      const die = (cause: Error) => {
        this.dead = cause;
        reject(cause);
        this.running?.reject(cause);
        this.running?.done();
      };
      this.worker.once("error", (cause) => die(this.failed(cause.message, cause)));
      this.worker.once("exit", () => die(this.closed()));
    });
    this.ready.catch(() => undefined);
  }

  /** Rejects at once when the signal fires; a run that has begun ends unheard, one that waits does not begin. */
  async run(feeds: Record<string, WireTensor>, fetches: readonly string[], signal?: AbortSignal): Promise<Outputs> {
    throwIfAborted(signal, `a run of ${this.name}`);
    const before = this.last;
    let done: () => void = () => undefined;
    this.last = new Promise((resolve) => {
      done = resolve;
    });
    let onAbort: () => void = () => undefined;
    try {
      return await new Promise<Outputs>((resolve, reject) => {
        onAbort = () => reject(new AbortedError(`a run of ${this.name}`, signal?.reason));
        signal?.addEventListener("abort", onAbort, { once: true });
        void before.then(() => {
          if (signal?.aborted) return done();
          if (this.dead || this.closing) {
            reject(this.dead ?? this.closed());
            return done();
          }
          this.running = { resolve, reject, done };
          this.worker.postMessage({ feeds, fetches });
        });
      });
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Waits for a run that has begun. */
  close(): Promise<void> {
    this.closing ??= this.end();
    return this.closing;
  }

  private async end(): Promise<void> {
    if (this.dead) return;
    await this.ready.catch(() => undefined);
    if (this.dead) return;
    const exited = new Promise<void>((resolve) => this.worker.once("exit", () => resolve()));
    this.worker.postMessage({ close: true });
    await exited;
  }

  private settle(outputs: Outputs | undefined, error: string | undefined): void {
    const { running } = this;
    this.running = undefined;
    if (outputs) running?.resolve(outputs);
    else running?.reject(this.failed(error ?? "no result"));
    running?.done();
  }

  private failed(message: string, cause?: unknown): InputError {
    return new InputError(expected("a run that succeeds", this.name, message), {
      code: "ONNX_RUN_FAILED",
      hint: "Check the sizes against the model's own inputs; see the runtime's message.",
      cause,
    });
  }

  private invalid(message: string): InputError {
    return new InputError(expected("an ONNX model that loads", this.name, message), {
      code: "ONNX_INVALID",
      hint: "Weights outside of the file are not loaded: export the model as one file.",
    });
  }

  private closed(): UsageError {
    return new UsageError(expected("an open model", this.name, "one that is closed"), {
      code: "CLOSED",
      hint: "Open it again with openOnnx().",
    });
  }
}

/** Where onnxruntime-node lies: beside this package, or in the project of the running program. */
function runtimePath(): string {
  for (const from of [import.meta.url, join(process.cwd(), "package.json")]) {
    try {
      return createRequire(from).resolve("onnxruntime-node");
    } catch {
      // The next place.
    }
  }
  throw new EnvironmentError("Expected the package onnxruntime-node for ONNX models but received none", {
    code: "ONNX_RUNTIME_MISSING",
    hint: "Install it beside krait: npm install onnxruntime-node --ignore-scripts (the CPU provider is inside the package).",
  });
}
