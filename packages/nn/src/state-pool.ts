import { dtypeSize, expected, InputError, UsageError } from "@krait/core";
import type { Device, DeviceBuffer } from "@krait/runtime";
import { allBuffers } from "./all-buffers.js";
import { type StateSpec, stateDType } from "./layers/index.js";
import { Session, type Snapshot } from "./session.js";

interface Pool {
  spec: StateSpec;
  dtype: "f32" | "bf16" | "i64";
  slotBytes: number;
  /** Of each token, for a state that grows; 0 for others. */
  tokenBytes: number;
  buffer: DeviceBuffer;
}

/** Bytes of a slot that hold something once a sequence has seen so many tokens. */
const usedBytes = (pool: Pool, position: number) => (pool.tokenBytes > 0 ? position * pool.tokenBytes : pool.slotBytes);

/** Device memory for the carried states of `slots` sequences. */
export class StatePool {
  private readonly free: number[];
  /** Shapes and dtypes of the states, for snapshots. */
  readonly layout: string;

  private constructor(
    readonly slots: number,
    private readonly pools: Pool[],
  ) {
    this.free = Array.from({ length: slots }, (_, i) => slots - 1 - i);
    // Of what grows, a token's share: snapshots fit wherever there is room for their tokens.
    const shape = ({ spec }: Pool) => (spec.growth === "linear" ? ["T", ...spec.shape.slice(1)] : spec.shape);
    this.layout = pools.map((p) => `${p.spec.name}:${p.dtype}[${shape(p)}]`).join(";");
  }

  /** @param specs with their whole shapes: room for as many tokens as a sequence may have, where states grow */
  static async create(
    device: Device,
    specs: readonly StateSpec[],
    slots: number,
    dtype: "f32" | "bf16",
  ): Promise<StatePool> {
    const pools = specs.map((spec) => {
      const own = stateDType(spec, dtype);
      const slotBytes = spec.shape.reduce((a, b) => a * b, dtypeSize(own));
      const tokenBytes = spec.growth === "linear" ? slotBytes / spec.shape[0]! : 0;
      return { spec, dtype: own, slotBytes, tokenBytes };
    });
    const buffers = await allBuffers(pools.map(({ slotBytes }) => device.zeros(slotBytes * slots)));
    return new StatePool(
      slots,
      pools.map((pool, i) => ({ ...pool, buffer: buffers[i]! })),
    );
  }

  /** Bytes of state per sequence. */
  get bytesPerSequence(): number {
    return this.pools.reduce((sum, p) => sum + p.slotBytes, 0);
  }

  get buffers(): Record<string, DeviceBuffer> {
    return Object.fromEntries(this.pools.map((p) => [p.spec.name, p.buffer]));
  }

  /** A session with a zero state. Throws `UsageError` (NO_FREE_SLOT) when all are taken. */
  async open(): Promise<Session> {
    const slot = this.free.pop();
    if (slot === undefined) {
      throw new UsageError(expected("a free slot", "a new session", `${this.slots} open sessions`), {
        code: "NO_FREE_SLOT",
        hint: "Close sessions that are done, or load the model with more slots.",
      });
    }
    try {
      // What grows is read only as far as it was written.
      const whole = this.pools.filter((p) => p.tokenBytes === 0);
      await Promise.all(whole.map((p) => p.buffer.fill(0, slot * p.slotBytes, p.slotBytes)));
    } catch (error) {
      this.release(slot);
      throw error;
    }
    return new Session(this, slot);
  }

  release(slot: number): void {
    this.free.push(slot);
  }

  /** @param position tokens that the sequence has seen */
  async readSlot(slot: number, position: number): Promise<Record<string, Uint8Array>> {
    const entries = this.pools.map(async (p) => {
      const bytes = new Uint8Array(usedBytes(p, position));
      return [p.spec.name, bytes.length > 0 ? await p.buffer.read(bytes, slot * p.slotBytes) : bytes] as const;
    });
    return Object.fromEntries(await Promise.all(entries));
  }

  /** Throws `UsageError` (SNAPSHOT_MISMATCH, CONTEXT_FULL) or `InputError` (SNAPSHOT_MISMATCH) for a snapshot that cannot be restored here. */
  check({ layout, position, globals = 0, states }: Snapshot): void {
    if (layout !== this.layout) {
      throw new UsageError(expected("states of this model's shapes", "the snapshot's layout", layout), {
        code: "SNAPSHOT_MISMATCH",
        hint: "Restore snapshots into the model and dtype they were taken from.",
      });
    }
    const damaged = (what: string, name: string, received: unknown): never => {
      throw new InputError(expected(what, name, received), {
        code: "SNAPSHOT_MISMATCH",
        hint: "The snapshot is damaged.",
      });
    };
    if (!Number.isSafeInteger(position) || position < 0)
      damaged("a number of tokens", "the snapshot's position", position);
    if (!Number.isSafeInteger(globals) || globals < 0 || globals > position)
      damaged("a number of tokens", "the snapshot's global tokens", globals);
    for (const pool of this.pools) {
      const { name } = pool.spec;
      const used = usedBytes(pool, position);
      if (used > pool.slotBytes) {
        throw new UsageError(expected(`at most ${pool.spec.shape[0]} tokens`, "the snapshot", position), {
          code: "CONTEXT_FULL",
          hint: "Restore it into a model with room for as many tokens.",
        });
      }
      const bytes = states[name];
      if (!(bytes instanceof Uint8Array) || bytes.byteLength !== used) damaged(`${used} bytes`, `state ${name}`, bytes);
    }
  }

  /** @param states as `check` wants them */
  async writeSlot(slot: number, states: Record<string, Uint8Array>): Promise<void> {
    const written = this.pools.filter((p) => states[p.spec.name]!.byteLength > 0);
    await Promise.all(written.map((p) => p.buffer.write(states[p.spec.name]!, slot * p.slotBytes)));
  }

  close(): void {
    for (const p of this.pools) p.buffer.close();
  }
}
