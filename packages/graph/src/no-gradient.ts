import { expected, UsageError } from "@krait/core";

/** Thrown where a gradient is asked for and no rule exists. */
export function noGradient(what: string): never {
  throw new UsageError(expected("an op with a gradient rule", "differentiating", what), {
    code: "NO_GRADIENT",
    hint: "Add the rule to the op's record, or stop the gradient before it.",
  });
}
