/** @module The two kinds of work on a prompt: sampling a completion, and scoring a given one. */
import type { FinishReason, Sample, SampleRequest, Token } from "../../engine/engine.ts";
import type { Backend, Branch, Logits, Sampler } from "./scheduler.ts";
import type { TextStream } from "./text-stream.ts";

export interface SampleBranchOptions {
  readonly backend: Backend;
  readonly sampler: Sampler;
  readonly text: TextStream;
  readonly request: Pick<SampleRequest, "maxTokens" | "logprobs">;
  /** The token that closes a response; its log-probability is noted at every step. */
  readonly end: Token;
  /** Tokens that end a completion: end of generation, or any other control token (the model has left its turn). */
  readonly closes: (token: Token) => boolean;
  readonly onText: (text: string) => void;
  readonly onDone: (sample: Sample) => void;
}

export class SampleBranch implements Branch {
  readonly start: readonly Token[] = [];
  readonly #options: SampleBranchOptions;
  readonly #tokens: Token[] = [];
  readonly #logprobs: number[] = [];
  readonly #endLogprobs: number[] = [];

  constructor(options: SampleBranchOptions) {
    this.#options = options;
  }

  async accept([row]: readonly Logits[]): Promise<readonly Token[]> {
    const { backend, sampler, text, request, end, closes, onText } = this.#options;
    if (row === undefined) throw new Error("A sampling step returned no logits");
    if (this.#tokens.length === request.maxTokens) {
      this.#endLogprobs.push(...(await backend.logprobs(row, [end])));
      return this.#finish("length");
    }
    const token = await sampler.sample(row);
    if (request.logprobs) {
      const [logprob, endLogprob] = await backend.logprobs(row, [token, end]);
      this.#endLogprobs.push(endLogprob as number);
      if (!closes(token)) this.#logprobs.push(logprob as number);
    }
    if (closes(token)) return this.#finish("stop");
    this.#tokens.push(token);
    const piece = text.push(token);
    if (piece !== "") onText(piece);
    if (text.stopped) return this.#finish("stop");
    // The last token is fed only for the log-probability of ending after it.
    return this.#tokens.length < request.maxTokens || request.logprobs ? [token] : this.#finish("length");
  }

  dispose(): void {
    this.#options.sampler.dispose();
  }

  #finish(finish: FinishReason): readonly Token[] {
    const { text, onText, onDone } = this.#options;
    const rest = text.end();
    if (rest !== "") onText(rest);
    onDone({ text: text.text, finish, tokens: this.#tokens, logprobs: this.#logprobs, endLogprobs: this.#endLogprobs });
    return [];
  }
}

/** Teacher forcing: log π(token i ∣ prompt, tokens before i), each read off the logits of the token before. */
export class ScoreBranch implements Branch {
  readonly start: readonly Token[];
  readonly #backend: Backend;
  readonly #completion: readonly Token[];
  readonly #logprobs: number[] = [];
  readonly #onDone: (logprobs: number[]) => void;

  constructor(backend: Backend, completion: readonly Token[], onDone: (logprobs: number[]) => void) {
    this.start = completion.slice(0, -1);
    this.#backend = backend;
    this.#completion = completion;
    this.#onDone = onDone;
  }

  async accept(rows: readonly Logits[]): Promise<readonly Token[]> {
    const scored = this.#completion.slice(this.#logprobs.length, this.#logprobs.length + rows.length);
    const logprobs = await Promise.all(scored.map((token, i) => this.#backend.logprobs(rows[i] as Logits, [token])));
    this.#logprobs.push(...logprobs.flat());
    if (this.#logprobs.length === this.#completion.length) this.#onDone(this.#logprobs);
    return [];
  }

  dispose(): void {}
}
