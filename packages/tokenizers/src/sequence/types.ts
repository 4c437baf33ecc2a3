/** The code of a token's kind, as feature files store it (u8). An image counts as video. */
export const modalityCodes = { text: 0, audio: 1, video: 2, class: 254, separator: 255 } as const;

export type ModalityName = keyof typeof modalityCodes;
export type Modality = (typeof modalityCodes)[ModalityName];
/** What a source can hold: everything but separators, which only `interleave` makes, and the class token, which `placeClassToken` does. */
export type SourceModality = Exclude<Modality, 254 | 255>;

const names = new Map<number, ModalityName>(
  Object.entries(modalityCodes).map(([name, code]) => [code, name as ModalityName]),
);

/** The name of a code; `undefined` for a number that is no modality. */
export function modalityName(code: number): ModalityName | undefined {
  return names.get(code);
}

/**
 * Consecutive tokens of one modality, as arrays of columns, each of `count` entries.
 *
 * The payload is what a front end turns into rows of values, one row per token, in the tokens' order: a tubelet of frames,
 * stacked mel frames [count, dim], text ids [count]. Nothing in sequence/ ever looks into it.
 */
export interface TokenBlock<P = unknown> {
  readonly modality: SourceModality;
  readonly count: number;
  /** Seconds of presentation time, non-decreasing within a source; all tokens of a tubelet share one pair. */
  readonly start: Float64Array;
  /** Seconds, `end[i] >= start[i]`. */
  readonly end: Float64Array;
  /** Place within the frame; 0 where there is none. */
  readonly row: Uint16Array;
  readonly column: Uint16Array;
  readonly payload: P;
}

/**
 * One tokenized input. `timed: false` is text without times: its blocks' `start` and `end` are not read, `interleave` gives
 * them the time of the place where the text stands.
 */
export interface TokenSource<P = unknown> extends AsyncIterable<TokenBlock<P>> {
  readonly modality: SourceModality;
  readonly timed: boolean;
}

/** Tokens `from` (included) to `to` (excluded) of a block, in the sequence's order. */
export interface RunPart<P = unknown> {
  readonly modality: SourceModality;
  /** Index of the source in the list given to `interleave`. */
  readonly source: number;
  readonly block: TokenBlock<P>;
  readonly from: number;
  readonly to: number;
}

/** One separator token. `time` is the border it marks, in seconds: its start and its end. */
export interface SeparatorPart {
  readonly modality: 255;
  readonly time: number;
}

/** The class token. `time` is that of the place where it stands, in seconds: its start and its end. */
export interface ClassPart {
  readonly modality: 254;
  readonly time: number;
}

export type SequencePart<P = unknown> = RunPart<P> | SeparatorPart | ClassPart;

/** Whether a part is one token that no source holds. */
export function isMark(part: SequencePart): part is SeparatorPart | ClassPart {
  return part.modality === modalityCodes.separator || part.modality === modalityCodes.class;
}
