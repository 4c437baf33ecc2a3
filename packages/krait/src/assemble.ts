import { type EncoderChunk, type EncoderConfig, modalityRows, patchesPerTubelet } from "@krait/nn";
import {
  createTokenColumns,
  isMark,
  modalityCodes,
  partLength,
  type RunPart,
  type SequencePart,
  type TokenBlock,
  type TokenColumns,
  writeTokenColumns,
} from "@krait/tokenizers";

/** What the front ends put into blocks: tubelets of frames, rows of stacked mel, text ids. */
export type Payload = { frames: Uint8Array } | { values: Float32Array } | Int32Array;

/** A chunk of the flat sequence, ready for the encoder, with what is known of its tokens. */
export interface AssembledChunk {
  chunk: EncoderChunk;
  columns: TokenColumns;
  tokens: number;
}

/**
 * Cuts the sequence into chunks of `chunkTokens` tokens; the last one may be shorter, and in temporal order those of a window with more
 * tubelets than a run has room for. Cuts may fall inside a tubelet.
 *
 * `skip` tokens at the beginning are left out: those that an earlier run has encoded.
 *
 * The arrays of `chunk` are filled anew for each: run a chunk before asking for the next. `columns` are the caller's to keep.
 */
export async function* assembleChunks(
  parts: AsyncIterable<SequencePart<Payload>>,
  config: EncoderConfig,
  chunkTokens: number,
  skip = 0,
): AsyncGenerator<AssembledChunk, void, undefined> {
  const memory = new ChunkMemory();
  const { video } = config.inputs;
  // As `embedTokens` has it.
  const room = video ? Math.ceil(chunkTokens / patchesPerTubelet(video)) + 1 : 0;
  let pending: SequencePart<Payload>[] = [];
  let tubelets = new Set<TokenBlock<Payload>>();
  let tokens = 0;
  const cutHere = (): AssembledChunk => {
    const chunk = assemble(pending, config, tokens, memory);
    pending = [];
    tubelets = new Set();
    tokens = 0;
    return chunk;
  };
  let left = skip;
  for await (let part of parts) {
    if (left > 0) {
      const count = partLength(part);
      left -= count;
      if (left >= 0 || isMark(part)) continue;
      part = { ...part, from: part.to + left };
    }
    if (isMark(part)) {
      pending.push(part);
      tokens++;
    } else {
      const isVideo = part.modality === modalityCodes.video;
      if (isVideo && tubelets.size === room && !tubelets.has(part.block)) yield cutHere();
      while (tokens + part.to - part.from > chunkTokens) {
        const cut: number = part.from + chunkTokens - tokens;
        if (cut > part.from) pending.push({ ...part, to: cut });
        tokens = chunkTokens;
        yield cutHere();
        part = { ...part, from: cut };
      }
      if (part.to > part.from) pending.push(part);
      if (isVideo && part.to > part.from) tubelets.add(part.block);
      tokens += part.to - part.from;
    }
    if (tokens === chunkTokens) yield cutHere();
  }
  if (tokens > 0) yield cutHere();
}

/** Fresh megabytes for every chunk would cost page faults now and garbage collections later, all on the event loop. */
class ChunkMemory {
  private readonly frames = new Reused<Uint8Array>(Uint8Array);
  private readonly mel = new Reused<Float32Array>(Float32Array);
  private readonly textIds = new Reused<Int32Array>(Int32Array);

  gather(frames: Uint8Array[], mel: Float32Array[], textIds: Int32Array[]) {
    return { frames: this.frames.join(frames), mel: this.mel.join(mel), textIds: this.textIds.join(textIds) };
  }
}

class Reused<A extends Uint8Array | Float32Array | Int32Array> {
  private held: A;

  constructor(private readonly type: new (length: number) => A) {
    this.held = new type(0);
  }

  join(parts: readonly A[]): A {
    const length = parts.reduce((sum, p) => sum + p.length, 0);
    if (this.held.length < length) this.held = new this.type(length);
    let at = 0;
    for (const p of parts) {
      this.held.set(p as never, at);
      at += p.length;
    }
    return this.held.subarray(0, length) as A;
  }
}

function assemble(
  parts: readonly SequencePart<Payload>[],
  config: EncoderConfig,
  tokens: number,
  memory: ChunkMemory,
): AssembledChunk {
  const columns = createTokenColumns(tokens);
  const rows = new Int32Array(tokens);
  const modality = new Int32Array(tokens);
  const { video, audio } = config.inputs;
  const perTubelet = video ? patchesPerTubelet(video) : 0;
  const melWidth = audio ? audio.stack * audio.melBins : 0;

  const tubelets = new Map<TokenBlock<Payload>, number>();
  const mel: Float32Array[] = [];
  const ids: Int32Array[] = [];
  let melRows = 0;
  let textIds = 0;
  for (const part of parts) {
    if (isMark(part)) continue;
    if (part.modality === modalityCodes.video) {
      if (!tubelets.has(part.block)) tubelets.set(part.block, tubelets.size);
    } else if (part.modality === modalityCodes.audio) {
      mel.push(
        (part.block.payload as { values: Float32Array }).values.subarray(part.from * melWidth, part.to * melWidth),
      );
      melRows += part.to - part.from;
    } else {
      ids.push((part.block.payload as Int32Array).subarray(part.from, part.to));
      textIds += part.to - part.from;
    }
  }

  // Rows of the chunk: all patches, then mel rows, then text, then the zeros of separators and the class token (EncoderChunk.rows).
  const melStart = tubelets.size * perTubelet;
  const textStart = melStart + melRows;
  const zeros = textStart + textIds;
  const next = { audio: melStart, text: textStart };
  let at = 0;
  for (const part of parts) {
    const count = writeTokenColumns(part, columns, at);
    if (isMark(part)) {
      rows[at] = zeros;
      modality[at] = part.modality === modalityCodes.class ? modalityRows.class : modalityRows.separator;
    } else {
      const first = firstRow(part, tubelets, perTubelet, next);
      for (let i = 0; i < count; i++) rows[at + i] = first + i;
      modality.fill(
        part.modality === modalityCodes.video
          ? modalityRows.video
          : part.modality === modalityCodes.audio
            ? modalityRows.audio
            : modalityRows.text,
        at,
        at + count,
      );
    }
    at += count;
  }

  const frames = [...tubelets.keys()].map((block) => (block.payload as { frames: Uint8Array }).frames);
  return { chunk: { lengths: [tokens], ...memory.gather(frames, mel, ids), rows, modality }, columns, tokens };
}

function firstRow(
  part: RunPart<Payload>,
  tubelets: ReadonlyMap<TokenBlock<Payload>, number>,
  perTubelet: number,
  next: { audio: number; text: number },
): number {
  if (part.modality === modalityCodes.video) return tubelets.get(part.block)! * perTubelet + part.from;
  const lane = part.modality === modalityCodes.audio ? "audio" : "text";
  const first = next[lane];
  next[lane] += part.to - part.from;
  return first;
}
