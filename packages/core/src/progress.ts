/** One report of long work. Media time is in seconds; unknown totals are left out, never guessed. */
export interface Progress {
  stage: string;
  /** Seconds of media done and in all. */
  mediaSeconds: number;
  totalMediaSeconds?: number;
  /** Tokens done and in all (predicted before decoding). */
  tokens: number;
  totalTokens?: number;
  /** Seconds of wall time since the start. */
  elapsedSeconds: number;
}

export type ProgressListener = (progress: Progress) => void;

/** Anything that owns native memory, a process or a file. */
export interface Closable {
  /** Frees it. Safe to call twice. */
  close(): void | Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
