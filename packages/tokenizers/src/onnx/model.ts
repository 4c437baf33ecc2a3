import { availableParallelism } from "node:os";
import { type Closable, expected, InputError, parseOptions } from "@krait/core";
import { openRegularFile, readAt } from "@krait/formats";
import { z } from "zod";
import { type OnnxTensor, type OnnxTensorSpec, onnxTypes, toWire, zeros } from "./types.js";
import { type ModelMetadata, OnnxWorker, type TensorMetadata } from "./worker.js";

const specSchema = z.strictObject({
  dtype: z.enum(Object.keys(onnxTypes) as [keyof typeof onnxTypes]),
  shape: z.array(z.union([z.number().int().min(0), z.string().min(1)])),
});
const optionsSchema = z.strictObject({
  /** Path of an .onnx file with its weights inside. */
  model: z.string().min(1),
  /** What it takes and gives, by name; checked against the model when it is opened. Outputs not named are not computed. */
  inputs: z.record(z.string(), specSchema),
  outputs: z.record(z.string(), specSchema),
  /** Inputs that are fed from an output of the run before, and with zeros at first: { input: output }. */
  state: z.record(z.string(), z.string()).default({}),
  threads: z.number().int().min(1).max(1024).optional(),
  /** Bytes of the file. */
  maxBytes: z
    .number()
    .int()
    .positive()
    .default(2 ** 31 - 1),
  signal: z.instanceof(AbortSignal).optional(),
});
export interface OnnxOptions extends Omit<z.input<typeof optionsSchema>, "signal" | "inputs" | "outputs"> {
  inputs: Readonly<Record<string, OnnxTensorSpec>>;
  outputs: Readonly<Record<string, OnnxTensorSpec>>;
  signal?: AbortSignal | undefined;
}

export interface OnnxRunOptions {
  signal?: AbortSignal | undefined;
}

/** An ONNX model on a thread of its own, so that the event loop stays free. Made by `openOnnx`; close it when done. */
export class OnnxModel implements Closable {
  /** @internal use openOnnx */
  constructor(
    private readonly worker: OnnxWorker,
    private readonly inputs: Readonly<Record<string, OnnxTensorSpec>>,
    private readonly outputs: Readonly<Record<string, OnnxTensorSpec>>,
    private readonly state: Readonly<Record<string, string>>,
  ) {}

  /**
   * One run without carried state: every declared input must be given. Several calls wait for each other.
   *
   * @throws UsageError (SHAPE_MISMATCH, CLOSED), InputError (ONNX_RUN_FAILED), AbortedError (at once; the run itself ends unheard)
   */
  async run(inputs: Readonly<Record<string, OnnxTensor>>, { signal }: OnnxRunOptions = {}) {
    const sizes = new Map<string, number>();
    const feeds = Object.fromEntries(
      Object.entries(this.inputs).map(([name, spec]) => [name, toWire(name, spec, inputs[name], sizes)]),
    );
    const results = await this.worker.run(feeds, Object.keys(this.outputs), signal);
    return Object.fromEntries(
      Object.entries(results).map(([name, { dims, data }]): [string, OnnxTensor] => [name, { shape: dims, data }]),
    );
  }

  /** Starts a sequence of runs that carry the declared state. Sequences may run side by side. */
  session(): OnnxSession {
    const start = Object.keys(this.state).map((name) => [name, zeros(this.inputs[name]!)] as const);
    return new OnnxSession(this, this.state, Object.fromEntries(start));
  }

  close(): Promise<void> {
    return this.worker.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Runs that carry state; one call at a time. */
export class OnnxSession {
  /** @internal use OnnxModel.session */
  constructor(
    private readonly model: OnnxModel,
    private readonly carried: Readonly<Record<string, string>>,
    private state: Record<string, OnnxTensor>,
  ) {}

  /** As `OnnxModel.run`, without the inputs that are carried. After an error the state is that before the call. */
  async run(inputs: Readonly<Record<string, OnnxTensor>>, options: OnnxRunOptions = {}) {
    const results = await this.model.run({ ...inputs, ...this.state }, options);
    this.state = Object.fromEntries(Object.entries(this.carried).map(([input, output]) => [input, results[output]!]));
    return results;
  }
}

/**
 * Opens an ONNX model and checks that it takes and gives what is declared. Nothing is fetched, and no file but the model is read: weights
 * stored outside of it are refused.
 *
 * @throws UsageError (INVALID_OPTION), InputError (the FILE_ codes, ONNX_TOO_LARGE, ONNX_INVALID, ONNX_MISMATCH),
 * EnvironmentError (ONNX_RUNTIME_MISSING), AbortedError
 */
export async function openOnnx(given: OnnxOptions): Promise<OnnxModel> {
  const options = parseOptions(optionsSchema, given, "openOnnx()");
  const { inputs, outputs, state, model: path } = options;
  checkState(options);
  const bytes = await readModel(path, options.maxBytes, options.signal);
  const worker = new OnnxWorker(path, bytes, options.threads ?? availableParallelism());
  try {
    checkModel(path, await worker.ready, inputs, outputs);
    options.signal?.throwIfAborted();
    return new OnnxModel(worker, inputs, outputs, state);
  } catch (error) {
    await worker.close();
    throw error;
  }
}

async function readModel(path: string, maxBytes: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const { handle, size } = await openRegularFile(path);
  try {
    if (size > maxBytes) {
      throw new InputError(expected(`at most ${maxBytes} bytes`, path, size), {
        code: "ONNX_TOO_LARGE",
        hint: "Raise maxBytes, or export the model with smaller weights.",
      });
    }
    const bytes = new Uint8Array(size);
    return bytes.subarray(0, await readAt(handle, bytes, 0, signal));
  } finally {
    await handle.close();
  }
}

function checkState({ inputs, outputs, state }: z.output<typeof optionsSchema>): void {
  for (const [input, output] of Object.entries(state)) {
    const known = z.literal(true, `an input and an output that are declared, of one fixed shape`);
    const [from, to] = [outputs[output], inputs[input]];
    const same = from && to && from.dtype === to.dtype && to.shape.every((d) => typeof d === "number");
    parseOptions(known, Boolean(same), `openOnnx() state ${input}`);
  }
}

function checkModel(
  path: string,
  metadata: ModelMetadata,
  inputs: Readonly<Record<string, OnnxTensorSpec>>,
  outputs: Readonly<Record<string, OnnxTensorSpec>>,
): void {
  for (const [what, found, declared] of [
    ["input", metadata.inputs, inputs],
    ["output", metadata.outputs, outputs],
  ] as const) {
    for (const [name, spec] of Object.entries(declared)) {
      const own = found.find((tensor) => tensor.name === name);
      if (own && matches(own, spec)) continue;
      const received = own ? `${own.type} [${own.shape.join(", ")}]` : `only ${found.map((t) => t.name).join(", ")}`;
      throw mismatch(path, `${spec.dtype} [${spec.shape.join(", ")}] for its ${what} ${name}`, received);
    }
  }
  const missing = metadata.inputs.find(({ name }) => !Object.hasOwn(inputs, name));
  if (missing) throw mismatch(path, "every input declared", `no declaration of ${missing.name}`);
}

function matches({ isTensor, type, shape }: TensorMetadata, spec: OnnxTensorSpec): boolean {
  if (!isTensor || type !== onnxTypes[spec.dtype].name) return false;
  // A model may leave its shapes open.
  if (shape.length === 0 || shape.length !== spec.shape.length) return shape.length === 0;
  return shape.every(
    (own, i) => typeof own !== "number" || own < 0 || typeof spec.shape[i] !== "number" || own === spec.shape[i],
  );
}

function mismatch(path: string, what: string, received: string): InputError {
  return new InputError(`Expected ${what} of ${path} but received ${received}`, {
    code: "ONNX_MISMATCH",
    hint: "Declare the inputs and outputs as the model has them.",
  });
}
