import { type Closable, expected, UsageError } from "@krait/core";
import type { StatePool } from "./state-pool.js";

/** A sequence's carried state at one token, as plain bytes: it can be stored, sent and restored in another process. */
export interface Snapshot {
  /** Tokens seen. */
  position: number;
  /** Global tokens among them; none when absent. */
  globals?: number;
  /** Identifies the shapes and dtypes of the states. */
  layout: string;
  states: Record<string, Uint8Array>;
}

/**
 * One sequence on its way through a model: a slot of the state pools and the number of tokens seen.
 * A run that fails or is cancelled leaves the state between two tokens: restore a snapshot before going on.
 */
export class Session implements Closable {
  private tokens = 0;
  /** Tokens of runs that have begun and not ended. */
  private ahead = 0;
  private globals = 0;
  private globalsAhead = 0;
  private runs = 0;
  /** Whether one of the runs under way or just ended failed. */
  private failed = false;
  private status: "ready" | "running" | "broken" | "closed" = "ready";

  /** @internal */
  constructor(
    private readonly pool: StatePool,
    /** @internal */
    readonly slot: number,
  ) {}

  /** Tokens seen so far. */
  get position(): number {
    return this.tokens;
  }

  /** Tokens seen when the runs that have begun are done. @internal */
  get nextPosition(): number {
    return this.tokens + this.ahead;
  }

  /** Global tokens seen then. @internal */
  get nextGlobals(): number {
    return this.globals + this.globalsAhead;
  }

  async snapshot(): Promise<Snapshot> {
    this.expect("ready", "snapshot()");
    return {
      position: this.tokens,
      ...(this.globals > 0 && { globals: this.globals }),
      layout: this.pool.layout,
      states: await this.pool.readSlot(this.slot, this.tokens),
    };
  }

  /** Goes back, or elsewhere: to the state of a snapshot of a model with the same shapes. */
  async restore(snapshot: Snapshot): Promise<void> {
    if (this.status !== "broken") this.expect("ready", "restore()");
    this.pool.check(snapshot);
    this.status = "running";
    this.runs++;
    let written = false;
    try {
      await this.pool.writeSlot(this.slot, snapshot.states);
      this.tokens = snapshot.position;
      this.globals = snapshot.globals ?? 0;
      written = true;
    } finally {
      this.end(0, written);
    }
  }

  /** A second session that goes on from the same token. */
  async fork(): Promise<Session> {
    const snapshot = await this.snapshot();
    const twin = await this.pool.open();
    try {
      await twin.restore(snapshot);
      return twin;
    } catch (error) {
      twin.close();
      throw error;
    }
  }

  /**
   * @param tokens that the run brings
   * @param queued whether it may begin behind runs that have not ended: a device takes runs in their order
   * @param globals how many of the tokens are global
   * @internal
   */
  begin(pool: StatePool, tokens: number, queued = false, globals = 0): void {
    if (pool !== this.pool) {
      throw new UsageError(expected("a session of the model that runs", "a run", "one of another model"), {
        code: "SESSION_MISMATCH",
        hint: "Open a session here and restore() a snapshot of the other into it.",
      });
    }
    if (!(queued && this.status === "running")) this.expect("ready", "a run");
    this.status = "running";
    this.runs++;
    this.ahead += tokens;
    this.globalsAhead += globals;
  }

  /**
   * Once for each begin(), in their order.
   *
   * @returns whether what the run gave stands on a sound state: not when it or a run before it failed
   * @internal
   */
  end(tokens: number, done: boolean, globals = 0): boolean {
    this.runs--;
    this.ahead -= tokens;
    this.globalsAhead -= globals;
    const sound = done && !this.failed;
    if (sound) {
      this.tokens += tokens;
      this.globals += globals;
    } else this.failed = true;
    if (this.runs > 0) return sound;
    if (this.status === "closed") this.pool.release(this.slot);
    else this.status = this.failed ? "broken" : "ready";
    this.failed = false;
    return sound;
  }

  /** Takes back a begin() whose run was never given. @internal */
  withdraw(tokens: number, globals = 0): void {
    this.ahead -= tokens;
    this.globalsAhead -= globals;
    if (--this.runs === 0) this.status = "ready";
  }

  close(): void {
    if (this.status === "closed") return;
    // Work under way still writes to the slot: it goes back at the end.
    const busy = this.status === "running";
    this.status = "closed";
    if (!busy) this.pool.release(this.slot);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  private expect(status: "ready", what: string): void {
    if (this.status === status) return;
    throw new UsageError(expected("a session that is ready", what, this.status), {
      code: "SESSION_NOT_READY",
      hint:
        this.status === "broken"
          ? "Its last run did not finish: restore() a snapshot first."
          : this.status === "running"
            ? "Await the run before, or fork() the session."
            : "Open another session.",
    });
  }
}
