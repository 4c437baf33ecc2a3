import { type Closable, expected, InternalError, parseOptions, UsageError } from "@krait/core";
import { z } from "zod";
import type { Session, Snapshot } from "../session.js";
import type { CausalInput, CausalModel } from "./causal-model.js";
import type { GreedySteps } from "./greedy-steps.js";
import { Prompt, type PromptInput } from "./prompt.js";
import { Sampler, samplingSchema } from "./sampling.js";

const schema = samplingSchema.extend({
  /** Most new tokens per prompt. */
  maxTokens: z.int().positive().default(128),
  /** Tokens that end a sequence; the model's own when absent. */
  endTokens: z.array(z.int().min(0)).optional(),
  /** Prompt tokens per run and sequence; as many as the model takes when absent. */
  chunkTokens: z.int().positive().optional(),
});

/** Prompt i draws from `seed` + i. */
export type GenerationOptions = z.input<typeof schema>;
type Options = z.output<typeof schema>;

/** One new token of one sequence. */
export interface GeneratedToken {
  /** Which prompt. */
  sequence: number;
  token: number;
  /** Set with the last token of a sequence: an end token came, or maxTokens are there (or what the model's attention can hold). */
  finish?: "end" | "length";
}

/** A generation at one token, to be stored and resumed, by another process if need be. */
export interface GenerationSnapshot {
  options: GenerationOptions;
  sequences: {
    prompt: PromptInput;
    tokens: number[];
    /** Tokens of the prompt that the state has seen. */
    fed: number;
    draws: number;
    finish: "end" | "length" | "stop" | undefined;
    /** Tokens that were chosen but not given out, all but the last of which the state has seen. */
    pending?: number[];
    state: Snapshot | undefined;
  }[];
}

interface Sequence {
  index: number;
  prompt: Prompt;
  tokens: number[];
  fed: number;
  sampler: Sampler;
  session: Session | undefined;
  finish: "end" | "length" | "stop" | undefined;
  /** Tokens that were chosen ahead. */
  pending: number[];
}

/**
 * Continues prompts: an async iterator of tokens as they come. All sequences go through the model together, packed; those that find
 * no free slot wait for one. Prompts are fed in chunks, beside the steps of sequences that are further on.
 */
export class Generation implements AsyncIterable<GeneratedToken>, Closable {
  private closed = false;
  /** Greedy steps under way, and of which sequences. */
  private ahead: { steps: GreedySteps; of: readonly Sequence[] } | undefined;

  private constructor(
    private readonly model: CausalModel,
    private readonly options: Options,
    private readonly sequences: Sequence[],
    private readonly signal: AbortSignal | undefined,
  ) {}

  /**
   * @param prompts token ids of each prompt, at least one, or ids and soft tokens in stretches
   * @throws UsageError (INVALID_OPTION, PROMPT_EMPTY); the iterator throws what `CausalModel.run` does
   */
  static start(
    model: CausalModel,
    prompts: readonly PromptInput[],
    options: GenerationOptions = {},
    signal?: AbortSignal,
  ): Generation {
    const parsed = parseOptions(schema, options, "generation");
    const sequences = prompts.map((input, index): Sequence => {
      const prompt = Prompt.of(input, model.description.width);
      if (prompt.length === 0) {
        throw new UsageError(expected("at least one token", `prompt ${index}`, prompt.length), {
          code: "PROMPT_EMPTY",
          hint: "A model says nothing before the first token: begin with its begin token.",
        });
      }
      const sampler = samplerOf(parsed, index, prompt);
      return { index, prompt, tokens: [], fed: 0, sampler, session: undefined, finish: undefined, pending: [] };
    });
    return new Generation(model, parsed, sequences, signal);
  }

  /** Goes on from a snapshot with the same tokens as the generation it was taken of. */
  static async resume(model: CausalModel, snapshot: GenerationSnapshot, signal?: AbortSignal): Promise<Generation> {
    const parsed = parseOptions(schema, snapshot.options, "generation");
    const generation = new Generation(model, parsed, [], signal);
    try {
      for (const [index, s] of snapshot.sequences.entries()) {
        const prompt = Prompt.of(s.prompt, model.description.width);
        const sampler = samplerOf(parsed, index, prompt);
        sampler.skip(s.draws);
        sampler.see(s.tokens);
        const session = s.state && (await model.open());
        const pending = [...(s.pending ?? [])];
        generation.sequences.push({ ...s, prompt, tokens: [...s.tokens], index, sampler, session, pending });
        if (s.state) await session!.restore(s.state);
      }
      return generation;
    } catch (error) {
      generation.close();
      throw error;
    }
  }

  /** State and tokens of all sequences; to be taken between two tokens. */
  async snapshot(): Promise<GenerationSnapshot> {
    await this.settle();
    const sequences = [];
    for (const { prompt, tokens, fed, sampler, session, finish, pending } of this.sequences) {
      const state = session && (await session.snapshot());
      const rest = { finish, pending: [...pending], state };
      sequences.push({ prompt: prompt.input, tokens: [...tokens], fed, draws: sampler.draws, ...rest });
    }
    return { options: this.options, sequences };
  }

  /** Ends one sequence early: nothing more comes of it. */
  stop(sequence: number): void {
    const found = this.sequences[sequence];
    if (found && !found.finish) this.end(found, "stop");
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GeneratedToken> {
    try {
      for (;;) {
        const active = await this.admit();
        if (active.length === 0) return;
        for (const token of await this.advance(active)) {
          // A token that came with one that ended its sequence is not shown.
          if (token.finish === undefined && this.sequences[token.sequence]!.finish === "stop") continue;
          yield token;
          if (this.closed) return;
        }
      }
    } finally {
      // Steps under way hold their slots until they end.
      await this.settle().catch(() => {});
      this.close();
    }
  }

  /** Gives the model's slots back. */
  close(): void {
    this.closed = true;
    for (const sequence of this.sequences) {
      sequence.session?.close();
      sequence.session = undefined;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** Sequences that run now: as many unfinished ones as there are slots. */
  private async admit(): Promise<Sequence[]> {
    // A slot is free only when no step under way uses it.
    if (this.ahead?.of.some((s) => s.finish)) await this.settle();
    const open = this.sequences.filter((s) => !s.finish);
    const most = Math.min(this.model.maxSequences, this.model.slots, this.model.maxTokens);
    const running = open.filter((s) => s.session);
    for (const s of open) {
      if (running.length >= most) break;
      if (s.session) continue;
      s.session = await this.model.open();
      running.push(s);
    }
    return running;
  }

  /** The next tokens: chosen ahead, or by one run. */
  private async advance(active: readonly Sequence[]): Promise<GeneratedToken[]> {
    if (this.ahead && !sameMembers(this.ahead.of, active)) await this.settle();
    const waiting = active.filter((s) => s.pending.length > 0);
    if (waiting.length > 0) return waiting.map((s) => this.take(s, s.pending.shift()!));
    if (!this.stepsAhead(active)) return this.run(active);
    this.ahead ??= {
      of: active,
      steps: await this.model.greedySteps(
        active.map((s) => s.session!),
        Int32Array.from(active, (s) => s.tokens.at(-1)!),
        this.signal,
      ),
    };
    const chosen = await this.ahead.steps.next(Math.min(...active.map((s) => this.room(s))));
    return active.map((s, i) => this.take(s, chosen[i]!));
  }

  /** Whether the device may choose the next tokens by itself. */
  private stepsAhead(active: readonly Sequence[]): boolean {
    const { temperature, repetitionPenalty } = this.options;
    const chooses = temperature === 0 && repetitionPenalty === 1 && this.model.stepsAhead > 0;
    return chooses && active.every((s) => s.fed === s.prompt.length);
  }

  /** Waits for the steps under way and keeps what they chose. */
  private async settle(): Promise<void> {
    const { ahead } = this;
    if (!ahead) return;
    this.ahead = undefined;
    for (const chosen of await ahead.steps.drain()) {
      ahead.of.forEach((s, i) => {
        if (!s.finish) s.pending.push(chosen[i]!);
      });
    }
  }

  /** Tokens that may still come of a sequence. */
  private room({ prompt, tokens }: Sequence): number {
    const { contextTokens = Number.POSITIVE_INFINITY } = this.model.description;
    return Math.min(this.options.maxTokens - tokens.length, contextTokens + 1 - prompt.length - tokens.length);
  }

  /** Counts a token in, which may be its sequence's last. */
  private take(s: Sequence, token: number): GeneratedToken {
    if (token < 0) throw new InternalError(expected("finite logits", "the next token", Number.NaN));
    s.tokens.push(token);
    const ends = (this.options.endTokens ?? this.model.description.endTokens).includes(token);
    const finish = ends ? "end" : this.room(s) <= 0 ? "length" : undefined;
    if (finish) this.end(s, finish);
    return { sequence: s.index, token, ...(finish && { finish }) };
  }

  /** One run: a step for sequences whose prompt is in, a chunk of the prompt for the others. */
  private async run(active: readonly Sequence[]): Promise<GeneratedToken[]> {
    const { chunkTokens = this.model.maxTokens } = this.options;
    let room = this.model.maxTokens - active.length;
    const inputs = active.map((s): CausalInput & { ids: { length: number } } => {
      if (s.fed === s.prompt.length) return { ids: s.tokens.slice(-1), session: s.session };
      const n = Math.min(s.prompt.length - s.fed, chunkTokens, room + 1);
      room -= n - 1;
      const isLast = s.fed + n === s.prompt.length;
      return { ids: s.prompt.slice(s.fed, s.fed + n), session: s.session, logits: isLast ? "last" : "none" };
    });
    const logits = await this.model.run(inputs, this.signal);
    const made: GeneratedToken[] = [];
    active.forEach((s, i) => {
      if (s.fed < s.prompt.length) s.fed += inputs[i]!.ids.length;
      if (s.fed < s.prompt.length) return;
      made.push(this.take(s, s.sampler.next(logits[i]!)));
    });
    return made;
  }

  private end(sequence: Sequence, why: "end" | "length" | "stop"): void {
    sequence.finish = why;
    sequence.pending = [];
    sequence.session?.close();
    sequence.session = undefined;
  }
}

const sameMembers = (a: readonly Sequence[], b: readonly Sequence[]) =>
  a.length === b.length && a.every((s, i) => s === b[i]);

function samplerOf(options: Options, index: number, prompt: Prompt): Sampler {
  const { maxTokens: _, endTokens: __, chunkTokens: ___, ...sampling } = options;
  const sampler = new Sampler({ ...sampling, seed: options.seed + index });
  sampler.see(prompt.ids);
  return sampler;
}
