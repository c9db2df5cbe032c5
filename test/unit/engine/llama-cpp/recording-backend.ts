/** @module A backend that remembers what each sequence holds and objects to every wrong position, copy and row. */
import type { Contrast, SamplingParameters, Token } from "../../../../src/engine/engine.ts";
import type {
  Backend,
  BatchChunk,
  ContrastSampler,
  Logits,
  Sampler,
} from "../../../../src/engine/llama-cpp/backend.ts";
import type { TaskSequence } from "../../../../src/engine/llama-cpp/task.ts";

export const end: Token = 0;
/** A second control token, which ends a completion as well. */
export const otherControl: Token = 1;
export const parameters: SamplingParameters = { temperature: 1, topP: 1, topK: 0, maxTokens: 8, stop: [] };

/** The model: log π(token ∣ everything before it), any function that tells histories apart. */
export function logprob(history: readonly Token[], token: Token): number {
  const hash = [...history, token].reduce((sum, value, place) => (sum * 31 + value * (place + 7)) % 9973, 17);
  return -hash / 100;
}

export interface BackendOptions {
  /** Slots that tasks run in; half as many more keep prefixes. */
  readonly slots?: number;
  /** Tokens of prompts and completions in a step. */
  readonly chunk?: number;
  readonly contextSize?: number;
  /** States can be cut to a beginning. */
  readonly rewinds?: boolean;
  /** More decodes and copies are an error: the scheduler does not get on. */
  readonly mostSteps?: number;
  /** Called before each decode with its batch; may act or throw. */
  readonly beforeDecode?: (batch: readonly BatchChunk[], step: number) => void;
  /** What a sampler draws after a history. */
  readonly draw?: (history: readonly Token[], seed: number) => Token;
}

/** What stands behind `Logits`. */
interface Row {
  readonly backend: RecordingBackend;
  readonly number: number;
}

export class RecordingBackend implements Backend {
  readonly sequences: number;
  readonly stepTokens: number;
  readonly contextSize: number;
  readonly prefillSpeed = 1e9;
  readonly threads = 1;
  readonly steps: (readonly BatchChunk[])[] = [];
  readonly copies: { source: number; target: number; length: number }[] = [];
  readonly violations: string[] = [];
  /** What stood before each token that was drawn by contrast, in both contexts. */
  readonly met: (readonly [positive: readonly Token[], negative: readonly Token[]])[] = [];
  openSamplers = 0;
  readonly #options: BackendOptions;
  readonly #held = new Map<number, Token[]>();
  #rows: (readonly Token[])[] = [];
  #firstRow = 0;
  #acts = 0;

  constructor(options: BackendOptions = {}) {
    this.#options = options;
    const slots = options.slots ?? 4;
    this.sequences = slots + Math.floor(slots / 2);
    this.stepTokens = (options.chunk ?? 64) + slots;
    this.contextSize = options.contextSize ?? 1000;
  }

  /** Prompt tokens decoded: those without logits. */
  get prefilled(): number {
    return this.steps.flat().reduce((sum, { tokens, logits }) => sum + (logits.length === 0 ? tokens.length : 0), 0);
  }

  async decode(batch: readonly BatchChunk[]): Promise<Logits[][]> {
    this.#act();
    const step = this.steps.push(batch) - 1;
    const total = batch.reduce((sum, { tokens }) => sum + tokens.length, 0);
    this.#check(batch.length > 0 && total > 0, "a decode without tokens");
    this.#check(total <= this.stepTokens, `${total} tokens in a step of ${this.stepTokens}`);
    this.#check(
      new Set(batch.map(({ sequence }) => sequence)).size === batch.length,
      "a sequence fed twice in one decode",
    );
    await tick();
    this.#options.beforeDecode?.(batch, step);
    this.#firstRow += this.#rows.length;
    this.#rows = [];
    return batch.map(({ sequence, position, tokens, logits }) => {
      const held = this.#tokensOf(sequence);
      this.#check(
        position === held.length,
        `sequence ${sequence} holds ${held.length} tokens and is fed at ${position}`,
      );
      const whole = [...held, ...tokens];
      this.#check(whole.length <= this.contextSize, `sequence ${sequence} runs over its context`);
      this.#held.set(sequence, whole);
      return logits.map((offset) => {
        this.#check(offset >= 0 && offset < tokens.length, `logits wanted at ${offset} of ${tokens.length} tokens`);
        const number = this.#firstRow + this.#rows.push(whole.slice(0, held.length + offset + 1)) - 1;
        return { backend: this, number } as Row as unknown as Logits;
      });
    });
  }

  async logprobs(row: Logits, tokens: readonly Token[]): Promise<number[]> {
    const history = this.#history(row);
    await tick();
    return tokens.map((token) => logprob(history, token));
  }

  topLogprobs(): Promise<never> {
    throw new Error("No test asks for the likeliest tokens");
  }

  createSampler(_parameters: SamplingParameters, seed: number): Sampler {
    this.openSamplers += 1;
    let disposed = false;
    return {
      sample: async (row) => {
        this.#check(!disposed, "a disposed sampler is used");
        const history = this.#history(row);
        await tick();
        this.#check(!disposed, "a sampler is disposed while it samples");
        return this.#options.draw?.(history, seed) ?? end;
      },
      dispose: () => {
        this.#check(!disposed, "a sampler is disposed twice");
        disposed = true;
        this.openSamplers -= 1;
      },
    };
  }

  /** Draws what `createSampler`'s would after C⁺. */
  createContrastSampler(parameters: SamplingParameters, _contrast: Contrast, seed: number): ContrastSampler {
    const { sample, dispose } = this.createSampler(parameters, seed);
    return {
      sample: async (row, against) => {
        const [positive, negative] = [this.#history(row), this.#history(against)];
        this.met.push([positive, negative]);
        const token = await sample(row);
        return { token, logRatio: logprob(positive, token) - logprob(negative, token) };
      },
      dispose,
    };
  }

  get rewinds(): boolean {
    return this.#options.rewinds ?? true;
  }

  async copy(source: number, target: number, length: number): Promise<void> {
    this.#act();
    await tick();
    const held = this.#tokensOf(source);
    this.#check(source !== target && this.#inRange(target), `a copy from ${source} to ${target}`);
    this.#check(held.length >= length, `${length} tokens copied from a sequence of ${held.length}`);
    this.copies.push({ source, target, length });
    this.#check(
      this.rewinds || length === held.length,
      `${length} of ${held.length} tokens copied of a state that cannot be cut`,
    );
    this.#held.set(target, held.slice(0, length));
  }

  truncate(sequence: number, length: number): void {
    const held = this.#tokensOf(sequence);
    this.#check(length <= held.length, `sequence ${sequence} of ${held.length} tokens cut to ${length}`);
    this.#check(this.rewinds, `sequence ${sequence} is cut, which its state cannot be`);
    this.#held.set(sequence, held.slice(0, length));
  }

  clear(sequence: number): void {
    this.#check(this.#inRange(sequence), `sequence ${sequence} cleared`);
    this.#held.delete(sequence);
  }

  #act(): void {
    if (++this.#acts > (this.#options.mostSteps ?? 10_000)) throw new Error("The scheduler does not get on");
  }

  #tokensOf(sequence: number): Token[] {
    this.#check(this.#inRange(sequence), `there is no sequence ${sequence}`);
    return this.#held.get(sequence) ?? [];
  }

  #inRange(sequence: number): boolean {
    return Number.isInteger(sequence) && sequence >= 0 && sequence < this.sequences;
  }

  /** Of a row of any backend: samplers belong to the model. */
  #history(row: Logits): readonly Token[] {
    const { backend, number } = row as unknown as Row;
    const history = backend.#rows[number - backend.#firstRow];
    this.#check(history !== undefined, `row ${number} is not of the last step`);
    return history ?? [];
  }

  #check(holds: boolean, complaint: string): void {
    if (!holds) this.violations.push(complaint);
  }
}

export function tick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Feeds `count` further tokens, one a step. */
export class SteppingSequence implements TaskSequence {
  readonly start: readonly Token[] = [];
  readonly rows: Logits[] = [];
  disposals = 0;
  #left: number;

  constructor(count: number) {
    this.#left = count;
  }

  async accept(rows: readonly Logits[]): Promise<readonly Token[]> {
    this.rows.push(...rows);
    return this.#left-- > 0 ? [9] : [];
  }

  dispose(): void {
    this.disposals += 1;
  }
}
