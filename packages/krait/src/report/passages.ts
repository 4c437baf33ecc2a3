import { clip } from "./escape.js";
import { TimeSlots } from "./slots.js";

/** Text with a time: a subtitle, a spoken line. Times in seconds. */
export interface Cue {
  text: string;
  start: number;
  end: number;
}

/** The beginning of a text, and how long all of it was. */
export interface Passage {
  source: string;
  excerpt: string;
  characters: number;
}

const MAX_PASSAGES = 8;
const MAX_EXCERPT = 4000;
const MAX_CUES = 1000;
const MAX_CUE = 160;

/** Excerpts of the texts of a run; what is beyond them is counted and let go. */
export class Passages {
  readonly #passages: Passage[] = [];
  readonly #cues = new TimeSlots<Cue>(MAX_CUES, 1 / 4);
  #source: string | undefined;
  #current: Passage | undefined;
  /** Cues seen, of which the list may hold fewer. */
  cueCount = 0;
  /** Texts seen. */
  passageCount = 0;

  /** Adds to the text of `source`; a text may come in parts. */
  add(text: string, source: string): void {
    if (source !== this.#source) {
      this.#source = source;
      this.passageCount++;
      this.#current = { source: clip(source, 200), excerpt: "", characters: 0 };
      if (this.#passages.length < MAX_PASSAGES) this.#passages.push(this.#current);
    }
    const passage = this.#current!;
    passage.characters += text.length;
    // One unit too many, so that the end knows whether something was cut.
    passage.excerpt += text.slice(0, MAX_EXCERPT + 1 - passage.excerpt.length);
  }

  addCue({ text, start, end }: Cue): void {
    this.cueCount++;
    this.#cues.add(Math.max(0, start), { text: clip(text, MAX_CUE), start: Math.max(0, start), end: Math.max(0, end) });
  }

  get passages(): readonly Passage[] {
    return this.#passages.map((passage) => ({ ...passage, excerpt: clip(passage.excerpt, MAX_EXCERPT) }));
  }

  get cues(): Cue[] {
    return this.#cues.entries().map(({ item }) => item);
  }
}
