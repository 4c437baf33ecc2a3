import { expected, type TypedArray, UsageError } from "@krait/core";

/** Element types that cross to the runtime and back; `f16` travels as its 16 bits, `bool` as bytes. */
export const onnxTypes = {
  f32: { name: "float32", array: Float32Array },
  f16: { name: "float16", array: Uint16Array },
  i64: { name: "int64", array: BigInt64Array },
  i32: { name: "int32", array: Int32Array },
  u8: { name: "uint8", array: Uint8Array },
  bool: { name: "bool", array: Uint8Array },
} as const;
export type OnnxDType = keyof typeof onnxTypes;

export type OnnxData = TypedArray | BigInt64Array | Uint16Array;

/** What a model takes or gives under a name. Dimensions that a run decides are written as names. */
export interface OnnxTensorSpec {
  readonly dtype: OnnxDType;
  readonly shape: readonly (number | string)[];
}

export interface OnnxTensor {
  readonly shape: readonly number[];
  readonly data: OnnxData;
}

/** @internal As it travels to the worker. */
export interface WireTensor {
  type: string;
  dims: readonly number[];
  data: OnnxData;
}

const elements = (shape: readonly number[]) => shape.reduce((product, d) => product * d, 1);

/**
 * Checks a tensor against its declaration and lays it out for the worker. `sizes` collects what the named dimensions are, so that one name is
 * one size. Throws `UsageError` (SHAPE_MISMATCH).
 */
export function toWire(
  name: string,
  { dtype, shape }: OnnxTensorSpec,
  tensor: OnnxTensor | undefined,
  sizes: Map<string, number>,
): WireTensor {
  const { name: type, array } = onnxTypes[dtype];
  const fits =
    tensor !== undefined &&
    tensor.data instanceof array &&
    tensor.shape.length === shape.length &&
    tensor.shape.every((d, i) => Number.isSafeInteger(d) && d >= 0 && agrees(shape[i]!, d, sizes)) &&
    tensor.data.length === elements(tensor.shape);
  if (!fits) {
    const received =
      tensor && `[${tensor.shape}] of ${tensor.data?.constructor?.name} with ${tensor.data?.length} elements`;
    throw new UsageError(expected(`[${shape.join(", ")}] of ${dtype}`, `the input ${name}`, received), {
      code: "SHAPE_MISMATCH",
      hint: "Give what the model's inputs were declared with; one name stands for one size in a run.",
    });
  }
  return { type, dims: tensor.shape, data: tensor.data };
}

function agrees(declared: number | string, given: number, sizes: Map<string, number>): boolean {
  if (typeof declared === "number") return declared === given;
  const known = sizes.get(declared);
  if (known === undefined) sizes.set(declared, given);
  return known === undefined || known === given;
}

/** A tensor of zeros, as states begin. */
export function zeros({ dtype, shape }: OnnxTensorSpec): OnnxTensor {
  const dims = shape.map(Number);
  return { shape: dims, data: new onnxTypes[dtype].array(elements(dims)) };
}
