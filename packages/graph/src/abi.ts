import { createHash } from "node:crypto";
import { type DType, InternalError } from "@krait/core";
import { type DTypeVariable, dtypeVariables, type Op, type WireAttribute } from "./op.js";
import { allOps } from "./ops/index.js";
import { ruleToCpp } from "./rules.js";
import { patternOf } from "./value.js";

/** Codes of dtypes in programs and kernels; also the `DType` enumeration in C++. */
export const dtypeCodes: Partial<Record<DType, number>> = { f32: 0, bf16: 1, f16: 2, u8: 3, i32: 4, i64: 5 };

/** Ops with kernels, in the order that gives them their number. */
export const kernelOps: readonly Op[] = allOps.filter((op) => !op.isView).sort((a, b) => (a.name < b.name ? -1 : 1));

const numbers = new Map(kernelOps.map((op, index) => [op, index]));

export function opNumber(op: Op): number {
  const number = numbers.get(op);
  if (number === undefined) {
    throw new InternalError(`Expected an op of packages/graph/src/ops for encoding but received ${op.name}`);
  }
  return number;
}

/** Operands as kernels see them: inputs, then outputs; a state updated in place is one operand. */
export function operandsOf(op: Op): { name: string; isOutput: boolean }[] {
  return [
    ...Object.keys(op.inputs).map((name) => ({ name, isOutput: false })),
    ...Object.keys(op.outputs).map((name) => ({ name, isOutput: true })),
  ];
}

function signature(op: Op): unknown {
  const operand = ([name, o]: [string, (typeof op.inputs)[string] & { when?: string }]) => [
    name,
    o.shape,
    o.dtype,
    o.optional ?? false,
    o.inout ?? false,
    o.when ?? "",
  ];
  return [op.name, op.wire, Object.entries(op.inputs).map(operand), Object.entries(op.outputs).map(operand)];
}

const FORMAT_VERSION = 1;

/** SHA-256 over every op's signature and the format's version: programs and kernels that disagree never meet. */
export const abiHash: string = createHash("sha256")
  .update(JSON.stringify([FORMAT_VERSION, kernelOps.map(signature)]))
  .digest("hex");

const snake = (name: string) => name.replace(/[A-Z]/g, (c, i: number) => (i === 0 ? c : `_${c.toLowerCase()}`));
const pascal = (name: string) => name.replace(/(^|_)([a-z0-9])/g, (_, __, c: string) => c.toUpperCase());
// Operands such as A, B and D keep the papers' capitals.
const operandField = (name: string) => (/^[A-Z]$/.test(name) ? name : snake(name));
// An in-out or output operand may carry an input's name (the borders that framing emits).
const fieldName = (op: Op, name: string, isOutput: boolean) =>
  isOutput && name in op.inputs ? `out_${operandField(name)}` : operandField(name);

function attributeField({ name, type, choices }: WireAttribute): string {
  if (type === "enum") {
    const enumName = pascal(snake(name));
    return `  enum class ${enumName} : int64_t { ${choices!.join(", ")} };\n  ${enumName} ${snake(name)};`;
  }
  return `  ${{ i64: "int64_t", f64: "double", bool: "bool" }[type]} ${snake(name)};`;
}

function argsStruct(op: Op): string {
  const operands = operandsOf(op);
  const structName = `${pascal(op.name)}Args`;
  const unpackAttributes = op.wire.map(({ name, type }, i) => {
    const field = snake(name);
    if (type === "enum") return `  a.${field} = static_cast<${structName}::${pascal(field)}>(c.attributes[${i}].i);`;
    return `  a.${field} = ${type === "f64" ? `c.attributes[${i}].f` : type === "bool" ? `c.attributes[${i}].i != 0` : `c.attributes[${i}].i`};`;
  });
  const fields = operands.map(({ name, isOutput }) => fieldName(op, name, isOutput));
  return `// ${op.doc}
struct ${structName} {
${[...op.wire.map(attributeField), `  Tensor ${fields.join(", ")};`, "  void* scratch;", "  int64_t scratch_bytes;"].join("\n")}
};

inline ${structName} unpack_${op.name}(const Call& c) {
  ${structName} a{};
${[...unpackAttributes, ...fields.map((f, i) => `  a.${f} = c.operands[${i}];`), "  a.scratch = c.scratch;", "  a.scratch_bytes = c.scratch_bytes;", "  return a;"].map((l) => (l.startsWith("  ") ? l : `  ${l}`)).join("\n")}
}
`;
}

function dtypeMask(rule: string): number {
  const allowed = rule in dtypeVariables ? dtypeVariables[rule as DTypeVariable] : [rule as DType];
  return allowed.reduce((mask, d) => mask | (1 << dtypeCodes[d]!), 0);
}

function signatureTable(op: Op): string {
  const letters: string[] = [];
  const letterIndex = (letter: string) => {
    if (!letters.includes(letter)) letters.push(letter);
    return letters.indexOf(letter);
  };
  const rows = operandsOf(op).map(({ name, isOutput }) => {
    const operand = isOutput ? op.outputs[name]! : op.inputs[name]!;
    const pattern = patternOf(operand);
    const dims = pattern.map(({ letter, plus }) => `{${letter === undefined ? -1 : letterIndex(letter)}, ${plus}}`);
    const variable = operand.dtype in dtypeVariables ? Object.keys(dtypeVariables).indexOf(operand.dtype) : -1;
    const optional = operand.optional || "when" in operand;
    return `    {"${name}", ${pattern.length}, {${dims.join(", ")}}, ${dtypeMask(operand.dtype)}u, ${variable}, ${optional}, ${isOutput}, ${operand.inout ?? false}},`;
  });
  const attributes = op.wire.map(
    ({ name, type, choices }) =>
      `    {"${name}", AttributeType::${type === "bool" || type === "enum" ? `${type}_` : type}, ${choices?.length ?? 0}},`,
  );
  return `inline constexpr OperandSignature k_${op.name}_operands[] = {\n${rows.join("\n")}\n};
inline constexpr AttributeSignature k_${op.name}_attributes[] = {\n${attributes.join("\n") || '    {"", AttributeType::i64, 0},'}\n};
`;
}

/** C++ of the function that names the first broken rule of an op, or null. */
function ruleFunction(op: Op): string {
  const operands = operandsOf(op);
  const field = (name: string): string => {
    const found = operands.find((o) => o.name === name);
    if (!found) throw new InternalError(`Expected an operand for has() in a rule of ${op.name} but received ${name}`);
    return `a.${fieldName(op, name, found.isOutput)}`;
  };
  const read = (name: string): string => {
    const attribute = op.wire.find((w) => w.name === name);
    if (attribute) return `Wide{a.${snake(name)}}`;
    for (const { name: operand, isOutput } of operands) {
      const pattern = patternOf(isOutput ? op.outputs[operand]! : op.inputs[operand]!);
      const axis = pattern.findIndex((p) => p.letter === name);
      if (axis >= 0) return `(Wide{a.${fieldName(op, operand, isOutput)}.dim[${axis}]} - ${pattern[axis]!.plus})`;
    }
    throw new InternalError(`Expected a dimension or attribute in a rule of ${op.name} but received ${name}`);
  };
  const sizes = op.wire
    .filter((w) => w.type === "i64")
    .map((w) => `  if (!is_bounded(a.${snake(w.name)})) return "${w.name} within its bounds";`);
  const rules = (op.spec.rules ?? []).map(
    ({ rule, expects }) => `  if (!(${ruleToCpp(rule, read, field)})) return ${JSON.stringify(expects)};`,
  );
  const body = [...sizes, ...rules];
  return `inline const char* broken_rule(${body.length > 0 ? `const ${pascal(op.name)}Args& a` : `const ${pascal(op.name)}Args&`}) {
${[...body, "  return nullptr;"].join("\n")}
}
`;
}

/** The C++ header that checks the rules of every op. */
export function rulesHeader(): string {
  return `// Generated from the op records in packages/graph/src/ops. Do not edit.
#pragma once

#include "krait/ops.h"

namespace krait {

using Wide = __int128;

// Attributes beyond this are no sizes, and products of a few below it do not overflow.
constexpr bool is_bounded(int64_t n) { return n >= -(int64_t{1} << 40) && n <= int64_t{1} << 40; }
constexpr Wide quotient(Wide a, Wide b) { return b < 1 ? Wide{-1} : a / b; }
constexpr Wide remainder(Wide a, Wide b) { return b < 1 ? Wide{-1} : a % b; }

${kernelOps.map(ruleFunction).join("\n")}
}  // namespace krait
`;
}

/** The C++ header that declares, for every op, its arguments and the one function each backend defines. */
export function abiHeader(): string {
  const list = kernelOps.map((op) => `  X(${op.name}, ${pascal(op.name)}Args)`).join(" \\\n");
  return `// Generated from the op records in packages/graph/src/ops. Do not edit.
#pragma once

#include "krait/abi.h"

namespace krait {

inline constexpr char kAbiHash[] = "${abiHash}";

${kernelOps.map(argsStruct).join("\n")}
#define KRAIT_OPS(X) \\
${list}

${kernelOps.map(signatureTable).join("\n")}
inline constexpr OpSignature kOps[] = {
${kernelOps
  .map(
    (op) =>
      `    {"${op.name}", k_${op.name}_operands, ${operandsOf(op).length}, k_${op.name}_attributes, ${op.wire.length}},`,
  )
  .join("\n")}
};
inline constexpr int64_t kOpCount = ${kernelOps.length};

}  // namespace krait
`;
}
