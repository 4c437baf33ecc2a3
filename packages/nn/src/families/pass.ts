import { expected, InternalError } from "@krait/core";
import { binary, type Graph, rmsNorm, type Value } from "@krait/graph";
import type { LayerScope } from "../layers/index.js";
import type { SequenceContext } from "../stack.js";

/** The residual stream on its way through the blocks of one program. What a block adds is joined with the next norm where possible. */
export class Pass {
  private pending: Value | undefined;

  constructor(
    readonly graph: Graph,
    private sum: Value,
    /** The embedded tokens [T, width]: some blocks look back at them. */
    readonly embedded: Value,
    private readonly tensors: ReadonlyMap<string, Value>,
    private readonly context: SequenceContext,
    readonly dtype: "f32" | "bf16",
  ) {}

  tensor(name: string): Value {
    const value = this.tensors.get(name);
    if (!value) throw new InternalError(expected("a tensor of the description", "a block", name));
    return value;
  }

  /** The stream [T, width] as it stands. */
  stream(): Value {
    if (this.pending) {
      this.sum = binary({ a: this.sum, b: this.pending }, { kind: "add" }).y;
      this.pending = undefined;
    }
    return this.sum;
  }

  /** The stream normalised, in the dtype of the layers or another. */
  normed(weight: string, eps: number, outDtype: "f32" | "bf16" = this.dtype): Value {
    const x = this.pending;
    const norm = this.tensor(weight);
    if (!x) return rmsNorm({ x: this.sum, weight: norm }, { eps, outDtype }).y;
    const { y, sum } = rmsNorm({ x, weight: norm, residual: this.sum }, { eps, outDtype });
    this.sum = sum!;
    this.pending = undefined;
    return y;
  }

  /** Lets one block read the stream with something added that does not stay in it. */
  lend(extra: Value, block: () => void): void {
    const kept = this.stream();
    this.pending = extra;
    block();
    this.sum = kept;
  }

  add(branch: Value): void {
    this.stream();
    this.pending = branch;
  }

  /** What a layer kind sees, its tensors and states being those under a prefix. */
  scope(prefix: string): LayerScope {
    return {
      parameter: (name) => this.tensor(`${prefix}.${name}`),
      state: (name) => this.tensor(`${prefix}.${name}`),
      ...this.context,
      routing: this.context.routing?.get(prefix),
      dtype: this.dtype,
    };
  }
}
