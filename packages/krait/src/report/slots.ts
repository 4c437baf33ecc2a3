/**
 * Keeps at most `capacity` items spread evenly over a time of unknown length: time is cut in slots, the first item of a slot
 * stays, and slots double in width when they run out.
 */
export class TimeSlots<T> {
  readonly #items = new Map<number, { time: number; item: T }>();
  #width: number;

  /** @param width seconds of the first slots */
  constructor(
    readonly capacity: number,
    width: number,
  ) {
    this.#width = width;
  }

  get size(): number {
    return this.#items.size;
  }

  /** Would an item at `time` (seconds, from 0) be kept? Lets a caller skip the work of making it. */
  wants(time: number): boolean {
    const held = this.#items.get(Math.floor(time / this.#width));
    return held === undefined || time < held.time;
  }

  /** Keeps the item if its slot is free or held by a later one. */
  add(time: number, item: T): void {
    if (!this.wants(time)) return;
    this.#items.set(Math.floor(time / this.#width), { time, item });
    while (this.#items.size > this.capacity) this.#double();
  }

  /** In order of time. */
  entries(): { time: number; item: T }[] {
    return [...this.#items.values()].sort((a, b) => a.time - b.time);
  }

  #double(): void {
    const kept = this.entries();
    this.#width *= 2;
    this.#items.clear();
    for (const { time, item } of kept)
      if (this.wants(time)) this.#items.set(Math.floor(time / this.#width), { time, item });
  }
}
