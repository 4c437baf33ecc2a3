import { dtypeSize, expected, InputError, UsageError } from "@krait/core";
import type { Device, DeviceBuffer } from "@krait/runtime";
import type { StateSpec } from "./layers/index.js";
import { Session, type Snapshot } from "./session.js";

interface Pool {
  spec: StateSpec;
  dtype: "f32" | "bf16";
  slotBytes: number;
  buffer: DeviceBuffer;
}

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
    this.layout = pools.map((p) => `${p.spec.name}:${p.dtype}[${p.spec.shape}]`).join(";");
  }

  static async create(
    device: Device,
    specs: readonly StateSpec[],
    slots: number,
    dtype: "f32" | "bf16",
  ): Promise<StatePool> {
    const pools: Pool[] = [];
    try {
      for (const spec of specs) {
        const own = spec.dtype === "f32" ? "f32" : dtype;
        const slotBytes = spec.shape.reduce((a, b) => a * b, dtypeSize(own));
        pools.push({ spec, dtype: own, slotBytes, buffer: await device.zeros(slotBytes * slots) });
      }
    } catch (error) {
      for (const pool of pools) pool.buffer.close();
      throw error;
    }
    return new StatePool(slots, pools);
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
      await Promise.all(this.pools.map((p) => p.buffer.fill(0, slot * p.slotBytes, p.slotBytes)));
    } catch (error) {
      this.release(slot);
      throw error;
    }
    return new Session(this, slot);
  }

  release(slot: number): void {
    this.free.push(slot);
  }

  async readSlot(slot: number): Promise<Record<string, Uint8Array>> {
    const entries = this.pools.map(async (p) => {
      return [p.spec.name, await p.buffer.read(new Uint8Array(p.slotBytes), slot * p.slotBytes)] as const;
    });
    return Object.fromEntries(await Promise.all(entries));
  }

  /** Throws `UsageError` or `InputError` (SNAPSHOT_MISMATCH) for a snapshot that cannot be restored here. */
  check({ layout, position, states }: Snapshot): void {
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
    for (const { spec, slotBytes } of this.pools) {
      const bytes = states[spec.name];
      if (!(bytes instanceof Uint8Array) || bytes.byteLength !== slotBytes)
        damaged(`${slotBytes} bytes`, `state ${spec.name}`, bytes);
    }
  }

  /** @param states as `check` wants them */
  async writeSlot(slot: number, states: Record<string, Uint8Array>): Promise<void> {
    await Promise.all(this.pools.map((p) => p.buffer.write(states[p.spec.name]!, slot * p.slotBytes)));
  }

  close(): void {
    for (const p of this.pools) p.buffer.close();
  }
}
