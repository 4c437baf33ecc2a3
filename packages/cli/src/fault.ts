/** Marks errors of the SDK and of the command alike; the SDK itself is not loaded for a wrong option. */
const marker = Symbol.for("krait.error");

/** A wrong command line. Looks like the SDK's `UsageError`. */
export class UsageFault extends Error {
  readonly [marker] = true;
  readonly kind = "usage";

  constructor(
    message: string,
    readonly code: string,
    readonly hint: string,
  ) {
    super(message);
    this.name = "UsageFault";
  }
}

/** An error as the command shows it. */
export interface Fault {
  kind: string;
  code: string;
  message: string;
  hint: string | undefined;
}

const exitCodes: Record<string, number> = { usage: 2, input: 3, environment: 4, aborted: 130 };
/** Codes that say that a part of the work is whole and kept. */
const partlyDone = new Set(["PAGE_NOT_WRITTEN"]);

export function toFault(error: unknown): Fault {
  if (typeof error === "object" && error !== null && (error as Record<symbol, unknown>)[marker] === true) {
    const { kind, code, message, hint } = error as unknown as Fault;
    return { kind, code, message, hint };
  }
  return {
    kind: "internal",
    code: "INTERNAL",
    message: error instanceof Error ? error.message : String(error),
    hint: "This is a defect in Krait: run again with KRAIT_DEBUG=1 for the stack, and report it with the command.",
  };
}

/** 2 usage, 3 bad input, 4 environment, 5 partly done, 130 interrupted; 1 only for defects. */
export function exitCode({ kind, code }: Pick<Fault, "kind" | "code">): number {
  return partlyDone.has(code) ? 5 : (exitCodes[kind] ?? 1);
}

/** The lines for standard error, without the last line end. */
export function formatFault(fault: Fault, { json }: { json: boolean }): string {
  const { kind, code, message, hint } = fault;
  if (json) return JSON.stringify({ error: { kind, code, message, ...(hint !== undefined && { hint }) } });
  return `krait: ${oneLine(message)}\n  ${hint === undefined ? "" : `hint: ${oneLine(hint)}  `}[${code}]`;
}

/** Names of files may hold anything; what moves the cursor or colours the terminal does not get through. */
export function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  return text.replace(/\s*\n\s*/g, "; ").replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
}
