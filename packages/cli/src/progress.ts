import { clock, count, ratio, wait } from "./format.js";

/** What is known of a run, as the SDK reports it. */
export interface ProgressState {
  /** "count" where tokens are counted before they are encoded. */
  stage?: string;
  mediaSeconds: number;
  totalMediaSeconds?: number;
  tokens: number;
  totalTokens?: number;
  elapsedSeconds: number;
}

/** `01:12:40 / 03:00:00  41x realtime  eta 2m`; in tokens where the sources have no length in time. */
export function formatProgress(state: ProgressState): string {
  const { stage, mediaSeconds, totalMediaSeconds, tokens, totalTokens, elapsedSeconds } = state;
  const timed = mediaSeconds > 0 || (totalMediaSeconds ?? 0) > 0;
  const done = timed ? mediaSeconds : tokens;
  const total = timed ? totalMediaSeconds : totalTokens;
  const counting = stage === "count" ? "counting  " : "";
  const place = timed
    ? `${counting}${clock(done)} / ${total === undefined ? "--:--:--" : clock(total)}`
    : `${counting}${count(done)} / ${total === undefined ? "?" : count(total)} tokens`;
  if (done <= 0 || elapsedSeconds <= 0) return `${place}  starting`;
  const rate = done / elapsedSeconds;
  const speed = timed ? `  ${ratio(rate)}x realtime` : "";
  return `${place}${speed}${total === undefined ? "" : `  eta ${wait(Math.max(0, total - done) / rate)}`}`;
}

/** The part of a stream that is written to: standard error, or a stand-in. */
export interface Terminal {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

export interface ProgressPrinter<S = ProgressState> {
  update(state: S): void;
  /** A line of its own, above the progress. */
  note(text: string): void;
  /** Ends the progress; on a terminal its line goes away. Safe to call twice. */
  close(): void;
}

const plainPeriod = 10_000;
const terminalPeriod = 100;

/**
 * Shows progress. On a terminal one line is rewritten; elsewhere there is one line now and then one per 10 s, also when nothing was
 * reported meanwhile.
 *
 * @param first what to say before anything is known of the sources
 */
export function startProgress(first: string, options: { quiet: boolean; out: Terminal }): ProgressPrinter;
/** The same of another kind of state. */
export function startProgress<S extends Timed>(
  first: string,
  options: { quiet: boolean; out: Terminal; format: (state: S) => string },
): ProgressPrinter<S>;
export function startProgress<S extends Timed>(
  first: string,
  { quiet, out, format }: { quiet: boolean; out: Terminal; format?: (state: S) => string },
): ProgressPrinter<S> {
  if (quiet) return { update() {}, note() {}, close() {} };
  const line = format ?? (formatProgress as unknown as (state: S) => string);
  return out.isTTY === true ? onTerminal(first, out, line) : onPlain(first, out, line);
}

type Timed = Pick<ProgressState, "elapsedSeconds">;

function onPlain<S extends Timed>(first: string, out: Terminal, format: (state: S) => string): ProgressPrinter<S> {
  let state: S | undefined;
  let heard = performance.now();
  out.write(`${first}\n`);
  // The clock goes on between two reports, so that a line of a slow run still tells the truth.
  const timer = setInterval(() => {
    if (state === undefined) return;
    const since = (performance.now() - heard) / 1000;
    out.write(`${format({ ...state, elapsedSeconds: state.elapsedSeconds + since })}\n`);
  }, plainPeriod);
  timer.unref();
  return {
    update(next) {
      state = next;
      heard = performance.now();
    },
    note: (text) => void out.write(`${text}\n`),
    close: () => clearInterval(timer),
  };
}

function onTerminal<S extends Timed>(first: string, out: Terminal, format: (state: S) => string): ProgressPrinter<S> {
  let line = first;
  let shown = Number.NEGATIVE_INFINITY;
  let open = true;
  const erase = "\r\x1b[K";
  const draw = () => {
    out.write(`${erase}${line.slice(0, Math.max(10, (out.columns || 80) - 1))}`);
    shown = performance.now();
  };
  draw();
  return {
    update(state) {
      line = format(state);
      if (performance.now() - shown >= terminalPeriod) draw();
    },
    note(text) {
      out.write(`${erase}${text}\n`);
      draw();
    },
    close() {
      // A second one would wipe what was printed since.
      if (open) out.write(erase);
      open = false;
    },
  };
}
