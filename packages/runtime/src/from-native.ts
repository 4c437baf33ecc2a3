import { AbortedError, EnvironmentError, InputError, InternalError, KraitError, UsageError } from "@krait/core";

/** An error of the native side as one of ours; `what` names the work. */
export function fromNative(error: unknown, what: string): Error {
  if (KraitError.is(error)) return error;
  const { code, message } = error as { code?: string; message?: string };
  const details = { code: code ?? "DEVICE_FAILED", cause: error };
  switch (code) {
    case "CANCELLED":
      return new AbortedError(what, error);
    case "OUT_OF_MEMORY":
      return new EnvironmentError(`${message}`, {
        ...details,
        hint: "Use smaller chunks (chunkTokens) or a smaller model.",
      });
    case "INVALID_RUN":
      return new UsageError(`${message} (${what})`, {
        ...details,
        hint: "Check the sizes and indices passed to the run.",
      });
    case "FILE_CHANGED":
      return new InputError(`${message} (${what})`, {
        ...details,
        hint: 'Load the model again. Where files are written to while models run, load it with weights: "copied".',
      });
    case "UNSUPPORTED":
      return new EnvironmentError(`${message}`, { ...details, hint: "`krait doctor` says what this machine can do." });
    case "DEVICE_FAILED":
      return new EnvironmentError(`${message}`, {
        ...details,
        hint: "Open the device again, in a new process where the message asks for it; if it repeats, report it.",
      });
    default:
      return new InternalError(`${message} (${what})`, details);
  }
}
