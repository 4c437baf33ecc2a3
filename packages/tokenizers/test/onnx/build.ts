import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** Small ONNX files written by hand (onnx.proto): enough to run what the adapters promise. */
type Field = Uint8Array | number | string;

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = BigInt(value);
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return bytes;
}

/** A message of [field number, value] pairs: numbers as varints, everything else with its length. */
function message(...fields: [number, Field][]): Uint8Array {
  const bytes: number[] = [];
  for (const [number, value] of fields) {
    if (typeof value === "number") bytes.push(...varint(number << 3), ...varint(value));
    else {
      const data = typeof value === "string" ? new TextEncoder().encode(value) : value;
      bytes.push(...varint((number << 3) | 2), ...varint(data.length), ...data);
    }
  }
  return Uint8Array.from(bytes);
}

export interface Value {
  name: string;
  /** onnx.TensorProto.DataType: 1 float, 7 int64. */
  type?: number;
  shape: (number | string)[];
}

export interface Node {
  op: string;
  inputs: string[];
  outputs: string[];
  /** Integers and lists of integers. */
  attributes?: Record<string, number | number[]>;
}

const value = ({ name, type = 1, shape }: Value) => {
  const dims = shape.map((d): [number, Field] => [1, typeof d === "number" ? message([1, d]) : message([2, d])]);
  return message([1, name], [2, message([1, message([1, type], [2, message(...dims)])])]);
};

const attribute = (name: string, data: number | number[]) =>
  typeof data === "number"
    ? message([1, name], [20, 2], [3, data])
    : message([1, name], [20, 7], ...data.map((v): [number, Field] => [8, v]));

const node = ({ op, inputs, outputs, attributes = {} }: Node) =>
  message(
    ...inputs.map((name): [number, Field] => [1, name]),
    ...outputs.map((name): [number, Field] => [2, name]),
    [4, op],
    ...Object.entries(attributes).map(([name, data]): [number, Field] => [5, attribute(name, data)]),
  );

export async function writeModel(graph: { nodes: Node[]; inputs: Value[]; outputs: Value[] }): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "krait-onnx-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const body = message(
    ...graph.nodes.map((n): [number, Field] => [1, node(n)]),
    [2, "test"],
    ...graph.inputs.map((v): [number, Field] => [11, value(v)]),
    ...graph.outputs.map((v): [number, Field] => [12, value(v)]),
  );
  const path = join(folder, "model.onnx");
  await writeFile(path, message([1, 8], [7, body], [8, message([1, ""], [2, 13])]));
  return path;
}
