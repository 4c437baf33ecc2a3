import { dtypeSize } from "@krait/core";
import { capacityBytes, type Graph, type Node, type Value } from "./value.js";

/** Alignment of everything in an arena, in bytes: a cache line pair, and what vector loads and copy engines like. */
export const ARENA_ALIGNMENT = 256;

/** Inputs that may outlive their op by one: what one step of a few tokens has, not what a long run would pay for. */
const LINGERING_BYTES = 64 * 1024;

export interface PlanOptions {
  /** Unused bytes left after every value, so that a test can see a write beyond an end. No memory is used twice then. */
  guardBytes?: number;
}

/** Where everything of a program lies. Offsets are bytes in the program's one arena, at the symbols' capacities. */
export interface Plan {
  graph: Graph;
  arenaBytes: number;
  /** Storage values in the arena: inputs, outputs and intermediates. Parameters and states are bound buffers. */
  offsets: ReadonlyMap<Value, number>;
  scratchOffsets: ReadonlyMap<Node, number>;
  guardBytes: number;
}

interface Block {
  bytes: number;
  from: number;
  to: number;
  offset: number;
  owner: Value | Node;
}

const align = (n: number) => Math.ceil(n / ARENA_ALIGNMENT) * ARENA_ALIGNMENT;

/** Gives every arena value an offset so that values alive at the same time never overlap: largest first, lowest gap that fits. */
export function plan(graph: Graph, { guardBytes = 0 }: PlanOptions = {}): Plan {
  const blocks: Block[] = [];
  const byStorage = new Map<Value, Block>();
  const touch = (value: Value, time: number) => {
    const storage = value.storage;
    const kind = storage.binding?.kind;
    if (kind === "parameter" || kind === "state") return;
    let block = byStorage.get(storage);
    if (!block) {
      const bytes = align(Math.max(1, capacityBytes(storage)) + guardBytes);
      block = { bytes, from: time, to: time, offset: -1, owner: storage };
      byStorage.set(storage, block);
      blocks.push(block);
    }
    block.from = Math.min(block.from, time);
    block.to = Math.max(block.to, time);
  };

  // Inputs are copied in before node 0; outputs are copied out after the last one.
  for (const value of graph.bindings.values()) {
    if (value.binding?.kind === "input") touch(value, -1);
  }
  graph.nodes.forEach((node, time) => {
    for (const value of Object.values(node.inputs)) {
      if (!value) continue;
      const stays = node.op.spec.lingers && capacityBytes(value.storage) <= LINGERING_BYTES;
      touch(value, stays ? time + 1 : time);
    }
    for (const value of Object.values(node.outputs)) touch(value, time);
    const bytes = node.scratch.capacity;
    if (bytes > 0) blocks.push({ bytes: align(bytes + guardBytes), from: time, to: time, offset: -1, owner: node });
  });
  for (const value of graph.bindings.values()) {
    if (value.binding?.kind === "output") touch(value, graph.nodes.length);
  }

  const placed: Block[] = [];
  let arenaBytes = 0;
  for (const block of [...blocks].sort((a, b) => b.bytes - a.bytes || a.from - b.from)) {
    const meets = (p: Block) => guardBytes > 0 || (p.from <= block.to && block.from <= p.to);
    const rivals = placed.filter(meets).sort((a, b) => a.offset - b.offset);
    let offset = 0;
    for (const rival of rivals) {
      if (offset + block.bytes <= rival.offset) break;
      offset = Math.max(offset, rival.offset + rival.bytes);
    }
    block.offset = offset;
    placed.push(block);
    arenaBytes = Math.max(arenaBytes, offset + block.bytes);
  }

  const offsets = new Map<Value, number>();
  const scratchOffsets = new Map<Node, number>();
  for (const { owner, offset } of blocks) {
    if ("op" in owner) scratchOffsets.set(owner, offset);
    else offsets.set(owner, offset);
  }
  return { graph, arenaBytes, offsets, scratchOffsets, guardBytes };
}

/** Bytes from the start of a value's storage to its first element. */
export function viewByteOffset(value: Value): number {
  return value.offset * dtypeSize(value.dtype);
}
