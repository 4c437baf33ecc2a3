import type * as Krait from "krait";

export type Sdk = typeof Krait;

/** Loads the SDK when a command needs it, so that help and wrong options answer at once. */
export async function loadSdk(): Promise<Sdk> {
  try {
    return await import("krait");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const missing = code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND" || code === "ERR_DLOPEN_FAILED";
    // sharp throws a plain error with its own advice when its binary is not for this machine.
    if (!missing && !/sharp/.test(message)) throw cause;
    throw Object.assign(new Error(`Expected the SDK to load but received ${message.split("\n")[0]}`, { cause }), {
      [Symbol.for("krait.error")]: true,
      kind: "environment",
      code: "SDK_NOT_LOADABLE",
      hint: "Install and build everything with `npm run setup`, or reinstall the packages on this machine.",
    });
  }
}
