import { InternalError } from "@krait/core";

/**
 * A relation between an op's dimensions and attributes, written once: checked in TypeScript when a call is traced and, as generated
 * C++, natively before every run. Letters are dimensions, other names integer or boolean attributes, `has(operand)` tells whether
 * an optional operand is there. Operators: `|| && == != <= >= < > + - * / % !` and parentheses; division is of integers.
 */
export interface Rule {
  rule: string;
  /** What was expected, for the message: "query heads in equal groups". */
  expects: string;
}

type Ast =
  | { kind: "number"; value: number }
  | { kind: "name"; name: string }
  | { kind: "has"; name: string }
  | { kind: "not"; of: Ast }
  | { kind: "binary"; op: string; left: Ast; right: Ast };

const precedence: Record<string, number> = {
  "||": 1,
  "&&": 2,
  "==": 3,
  "!=": 3,
  "<=": 4,
  ">=": 4,
  "<": 4,
  ">": 4,
  "+": 5,
  "-": 5,
  "*": 6,
  "/": 6,
  "%": 6,
};

function parse(rule: string): Ast {
  const tokens = rule.match(/[A-Za-z][A-Za-z0-9]*|\d+|\|\||&&|[=!<>]=|[-+*/%<>!()]|\S/g) ?? [];
  let at = 0;
  const fail = (): never => {
    throw new InternalError(
      `Expected a rule that can be read but received ${JSON.stringify(rule)} at "${tokens[at] ?? "its end"}"`,
    );
  };
  const take = (token: string) => {
    if (tokens[at] !== token) fail();
    at++;
  };
  const operand = (): Ast => {
    const token = tokens[at++] ?? fail();
    if (token === "(") {
      const inner = expression(1);
      take(")");
      return inner;
    }
    if (token === "!") return { kind: "not", of: operand() };
    if (/^\d/.test(token)) return { kind: "number", value: Number(token) };
    if (!/^[A-Za-z]/.test(token)) {
      at--;
      fail();
    }
    if (token !== "has" || tokens[at] !== "(") return { kind: "name", name: token };
    take("(");
    const name = tokens[at++] ?? fail();
    take(")");
    return { kind: "has", name };
  };
  const expression = (level: number): Ast => {
    let left = operand();
    for (let op = tokens[at]; op !== undefined && (precedence[op] ?? 0) >= level; op = tokens[at]) {
      at++;
      left = { kind: "binary", op, left, right: expression(precedence[op]! + 1) };
    }
    return left;
  };
  const ast = expression(1);
  if (at < tokens.length) fail();
  return ast;
}

const parsed = new Map<string, Ast>();
function astOf(rule: string): Ast {
  const known = parsed.get(rule) ?? parse(rule);
  parsed.set(rule, known);
  return known;
}

/** Names of dimensions and attributes that a rule reads. */
export function namesIn(rule: string): Set<string> {
  const names = new Set<string>();
  const walk = (ast: Ast): void => {
    if (ast.kind === "name") names.add(ast.name);
    else if (ast.kind === "not") walk(ast.of);
    else if (ast.kind === "binary") {
      walk(ast.left);
      walk(ast.right);
    }
  };
  walk(astOf(rule));
  return names;
}

/** Whether a rule holds. A quotient or remainder by a number below 1 is −1, as in the generated C++. */
export function holds(rule: string, read: (name: string) => number, has: (operand: string) => boolean): boolean {
  const value = (ast: Ast): number => {
    if (ast.kind === "number") return ast.value;
    if (ast.kind === "name") return read(ast.name);
    if (ast.kind === "has") return Number(has(ast.name));
    if (ast.kind === "not") return Number(value(ast.of) === 0);
    const { op, left, right } = ast;
    if (op === "||") return Number(value(left) !== 0 || value(right) !== 0);
    if (op === "&&") return Number(value(left) !== 0 && value(right) !== 0);
    const [a, b] = [value(left), value(right)];
    switch (op) {
      case "==":
        return Number(a === b);
      case "!=":
        return Number(a !== b);
      case "<=":
        return Number(a <= b);
      case ">=":
        return Number(a >= b);
      case "<":
        return Number(a < b);
      case ">":
        return Number(a > b);
      case "+":
        return a + b;
      case "-":
        return a - b;
      case "*":
        return a * b;
      case "/":
        return b < 1 ? -1 : Math.trunc(a / b);
      default:
        return b < 1 ? -1 : a % b;
    }
  };
  return value(astOf(rule)) !== 0;
}

/** The rule as a C++ expression over 128-bit integers; `name` and `operand` give the C++ of what it reads. */
export function ruleToCpp(rule: string, name: (name: string) => string, operand: (name: string) => string): string {
  const text = (ast: Ast): string => {
    if (ast.kind === "number") return `Wide{${ast.value}}`;
    if (ast.kind === "name") return name(ast.name);
    if (ast.kind === "has") return `static_cast<bool>(${operand(ast.name)})`;
    if (ast.kind === "not") return `!(${text(ast.of)})`;
    const [a, b] = [text(ast.left), text(ast.right)];
    if (ast.op === "/") return `quotient(${a}, ${b})`;
    if (ast.op === "%") return `remainder(${a}, ${b})`;
    return `(${a} ${ast.op} ${b})`;
  };
  return text(astOf(rule));
}
