import { expected, UsageError } from "@krait/core";

/**
 * How many elements a derived symbol has, per sequence of the pack: `max(0, floor((length + add) / by))`.
 * Framing by `size` and `hop` is `{ add: hop - size, by: hop }`; subsampling by 4 is `{ add: 3, by: 4 }`.
 */
export interface LengthRule {
  add: number;
  by: number;
}

/**
 * A named dimension: `capacity` bounds it when memory is planned, its value is given (or derived) at each run.
 * `T` (tokens) and `S` (sequences) are the usual two.
 */
export class Sym {
  constructor(
    readonly name: string,
    readonly capacity: number,
  ) {
    if (!/^[A-Za-z][A-Za-z0-9_]*$/.test(name)) {
      throw new UsageError(expected("a letter followed by letters, digits or _", "a symbol's name", name), {
        code: "INVALID_SYMBOL",
        hint: 'Name dimensions after the glossary: "T", "S", "F".',
      });
    }
    if (!Number.isSafeInteger(capacity) || capacity < 0) {
      throw new UsageError(expected("a non-negative integer", `the capacity of symbol ${name}`, capacity), {
        code: "INVALID_SYMBOL",
        hint: "Give the largest value one run may use.",
      });
    }
  }
}

export type Dim = number | Sym | Expr;

interface Term {
  coefficient: number;
  /** Sorted by name; a repeated symbol is a power. */
  symbols: readonly Sym[];
}

const keyOf = (symbols: readonly Sym[]) => symbols.map((s) => s.name).join("*");

/**
 * A polynomial over symbols with integer coefficients, in canonical form, so that equal means equal.
 * Dimensions are the affine ones; costs and sizes may be of any degree.
 */
export class Expr {
  private constructor(readonly terms: ReadonlyMap<string, Term>) {}

  static of(value: Dim): Expr {
    if (value instanceof Expr) return value;
    if (value instanceof Sym) return new Expr(new Map([[value.name, { coefficient: 1, symbols: [value] }]]));
    return new Expr(value === 0 ? new Map() : new Map([["", { coefficient: value, symbols: [] }]]));
  }

  plus(other: Dim): Expr {
    const terms = new Map(this.terms);
    for (const [key, term] of Expr.of(other).terms) {
      const coefficient = (terms.get(key)?.coefficient ?? 0) + term.coefficient;
      if (coefficient === 0) terms.delete(key);
      else terms.set(key, { coefficient, symbols: term.symbols });
    }
    return new Expr(terms);
  }

  times(other: Dim): Expr {
    let sum = Expr.of(0);
    for (const a of this.terms.values()) {
      for (const b of Expr.of(other).terms.values()) {
        const symbols = [...a.symbols, ...b.symbols].sort((x, y) => (x.name < y.name ? -1 : x.name > y.name ? 1 : 0));
        const coefficient = a.coefficient * b.coefficient;
        sum = sum.plus(new Expr(new Map([[keyOf(symbols), { coefficient, symbols }]])));
      }
    }
    return sum;
  }

  /** The value if it holds no symbol. */
  get constant(): number | undefined {
    if (this.terms.size === 0) return 0;
    return this.terms.size === 1 ? this.terms.get("")?.coefficient : undefined;
  }

  get isAffine(): boolean {
    return [...this.terms.values()].every((t) => t.symbols.length <= 1);
  }

  get symbols(): Set<Sym> {
    return new Set([...this.terms.values()].flatMap((t) => t.symbols));
  }

  evaluate(lookup: (symbol: Sym) => number): number {
    let sum = 0;
    for (const { coefficient, symbols } of this.terms.values()) {
      sum += symbols.reduce((product, s) => product * lookup(s), coefficient);
    }
    return sum;
  }

  /** Its largest value; right because coefficients of sizes are never negative. */
  get capacity(): number {
    return this.evaluate((s) => s.capacity);
  }

  equals(other: Dim): boolean {
    return this.toString() === Expr.of(other).toString();
  }

  toString(): string {
    if (this.terms.size === 0) return "0";
    return [...this.terms.entries()]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, t]) => (key === "" ? `${t.coefficient}` : t.coefficient === 1 ? key : `${t.coefficient}*${key}`))
      .join("+");
  }
}

export function sum(...values: Dim[]): Expr {
  return values.reduce<Expr>((a, b) => a.plus(b), Expr.of(0));
}

export function product(...values: Dim[]): Expr {
  return values.reduce<Expr>((a, b) => a.times(b), Expr.of(1));
}
