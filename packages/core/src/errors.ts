/** What went wrong, in the sense of who can mend it. Decides the exit code of the command. */
export type ErrorKind = "usage" | "input" | "environment" | "aborted" | "internal";

export interface ErrorDetails {
  /** Stable, SCREAMING_SNAKE_CASE; tests and callers match on it, never on the message. */
  code: string;
  /** One sentence that mends it. */
  hint?: string;
  cause?: unknown;
}

const marker = Symbol.for("krait.error");

/**
 * Base of every error the SDK throws on purpose.
 *
 * Use `KraitError.is(e)`, not `instanceof`: two copies of a package in one tree still recognise each other's errors.
 */
export class KraitError extends Error {
  readonly [marker] = true;
  readonly kind: ErrorKind;
  readonly code: string;
  readonly hint: string | undefined;

  constructor(kind: ErrorKind, message: string, { code, hint, cause }: ErrorDetails) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = `Krait${kind[0]?.toUpperCase()}${kind.slice(1)}Error`;
    this.kind = kind;
    this.code = code;
    this.hint = hint;
  }

  static is(error: unknown): error is KraitError {
    return typeof error === "object" && error !== null && (error as Record<symbol, unknown>)[marker] === true;
  }
}

/** The caller passed something the API cannot take: a wrong option, shape or order of calls. */
export class UsageError extends KraitError {
  constructor(message: string, details: ErrorDetails) {
    super("usage", message, details);
  }
}

/** A file or stream is not what it should be: missing, empty, truncated, hostile. */
export class InputError extends KraitError {
  constructor(message: string, details: ErrorDetails) {
    super("input", message, details);
  }
}

/** Something this machine lacks: a program, a library, a device, memory, disk. */
export class EnvironmentError extends KraitError {
  constructor(message: string, details: ErrorDetails) {
    super("environment", message, details);
  }
}

/** The work was cancelled through an AbortSignal or close(). */
export class AbortedError extends KraitError {
  constructor(what = "the operation", cause?: unknown) {
    super("aborted", `Expected ${what} to finish but received an abort signal`, {
      code: "ABORTED",
      hint: "What was written before the abort is kept; start again with the same arguments.",
      cause,
    });
  }
}

/** A broken promise inside the SDK. Always a bug worth reporting. */
export class InternalError extends KraitError {
  constructor(message: string, details: Partial<ErrorDetails> = {}) {
    super("internal", message, {
      code: "INTERNAL",
      hint: "This is a defect in Krait: please report it with the message and the input that caused it.",
      ...details,
    });
  }
}

/** Shows a received value in a message: short, typed, never a megabyte. */
export function describe(value: unknown): string {
  if (typeof value === "string")
    return value.length > 80 ? `${JSON.stringify(value.slice(0, 77))}…` : JSON.stringify(value);
  if (typeof value === "number" || typeof value === "boolean" || value === null || value === undefined)
    return String(value);
  if (typeof value === "bigint") return `${value}n`;
  if (Array.isArray(value))
    return value.length <= 8 ? `[${value.map(describe).join(", ")}]` : `an array of ${value.length}`;
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name} of ${value.byteLength} bytes`;
  if (typeof value === "function") return `a function`;
  const name = (value as object).constructor?.name;
  return name && name !== "Object" ? `a ${name}` : "an object";
}

/** The one sentence shape of the SDK: `Expected <what> for <name> but received <value>`. */
export function expected(what: string, name: string, received: unknown): string {
  return `Expected ${what} for ${name} but received ${describe(received)}`;
}

/** Throws `AbortedError` when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, what?: string): void {
  if (signal?.aborted) throw new AbortedError(what, signal.reason);
}
