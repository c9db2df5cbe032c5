/**
 * @module The two kinds of sequences that follow a prompt: a completion that is sampled, and a given one that is
 * scored.
 */
import type { FinishReason, Sample, SampleRequest, Token, TokenDetail, TokenText } from "../engine.ts";
import type { Backend, Logits, Sampler } from "./backend.ts";
import type { CompletionText } from "./completion-text.ts";
import type { TaskSequence } from "./task.ts";

/** Text and bytes of a token. */
export type Describe = (token: Token) => TokenText;

/** Details of a token, from the logits at its place. */
type Detail = Omit<TokenDetail, "offset">;

async function detailOf(
  backend: Backend,
  describe: Describe,
  row: Logits,
  token: Token,
  count: number,
): Promise<Detail> {
  const { logprob, top } = await backend.topLogprobs(row, token, count);
  return {
    ...describe(token),
    logprob,
    top: top.map(([likely, likelyLogprob]) => ({ ...describe(likely), logprob: likelyLogprob })),
  };
}

export interface SampledSequenceOptions {
  readonly backend: Backend;
  readonly sampler: Sampler;
  readonly text: CompletionText;
  readonly request: Pick<SampleRequest, "maxTokens" | "logprobs" | "topLogprobs">;
  readonly describe: Describe;
  /** The token that closes a response; its log-probability is read at every step. */
  readonly end: Token;
  /** Tokens that end a completion: end of generation, what closes the turn or leaves it. */
  readonly endsTurn: (token: Token) => boolean;
  /** `tokens`: sampled since the text before. */
  readonly onText: (text: string, tokens: number, details: readonly TokenDetail[]) => void;
  readonly onDone: (sample: Sample) => void;
}

export class SampledSequence implements TaskSequence {
  readonly start: readonly Token[] = [];
  readonly #options: SampledSequenceOptions;
  readonly #tokens: Token[] = [];
  readonly #logprobs: number[] = [];
  readonly #endLogprobs: number[] = [];
  readonly #details: Detail[] = [];
  /** Tokens whose details have gone out with their text. */
  #described = 0;
  /** Tokens that have been told of with text. */
  #told = 0;

  constructor(options: SampledSequenceOptions) {
    this.#options = options;
  }

  async accept([row]: readonly Logits[]): Promise<readonly Token[]> {
    const { backend, sampler, text, request, end, endsTurn, describe } = this.#options;
    if (row === undefined) throw new Error("A sampling step returned no logits");
    if (this.#tokens.length === request.maxTokens) {
      this.#endLogprobs.push(...(await backend.logprobs(row, [end])));
      return this.#finish("length");
    }
    const token = await sampler.sample(row);
    if (request.logprobs) {
      const [logprob, endLogprob] = await backend.logprobs(row, [token, end]);
      this.#endLogprobs.push(endLogprob as number);
      if (!endsTurn(token)) this.#logprobs.push(logprob as number);
    }
    const detail =
      request.topLogprobs === undefined ? null : await detailOf(backend, describe, row, token, request.topLogprobs);
    if (detail !== null) this.#details.push(detail);
    if (endsTurn(token)) return this.#finish("stop");
    this.#tokens.push(token);
    this.#emit(text.push(token));
    if (text.stopString !== undefined) return this.#finish("stop");
    // The last token is decoded only for the log-probability of ending after it.
    return this.#tokens.length < request.maxTokens || request.logprobs ? [token] : this.#finish("length");
  }

  cut(): void {
    this.#finish("length");
  }

  dispose(): void {
    this.#options.sampler.dispose();
  }

  #finish(finish: FinishReason): readonly Token[] {
    const { text, onDone } = this.#options;
    this.#emit(text.end());
    const details = this.#detailsFrom(0);
    const sums = { logprobs: this.#logprobs, endLogprobs: this.#endLogprobs };
    const hidden = text.stopString === undefined ? this.#details.slice(details.length) : [];
    const rest = hidden.map((detail) => ({ ...detail, offset: text.text.length }));
    onDone({ text: text.text, finish, stopString: text.stopString, tokens: this.#tokens, ...sums, details, rest });
    return [];
  }

  #emit(piece: string): void {
    if (piece === "") return;
    const details = this.#detailsFrom(this.#described);
    this.#described += details.length;
    this.#options.onText(piece, this.#tokens.length - this.#told, details);
    this.#told = this.#tokens.length;
  }

  /** Details of the tokens that begin in the text emitted so far, from the given one on. */
  #detailsFrom(first: number): TokenDetail[] {
    if (this.#options.request.topLogprobs === undefined) return [];
    const offsets = this.#options.text.offsetsFrom(first);
    return offsets.map((offset, i) => ({ ...(this.#details[first + i] as Detail), offset }));
  }
}

export interface ScoredSequenceOptions {
  /** Absent: no details of tokens. */
  readonly topLogprobs?: number | undefined;
  readonly describe: Describe;
  readonly onDone: (logprobs: readonly number[], details: readonly TokenDetail[]) => void;
}

/** Teacher forcing: log π(token i ∣ prompt, tokens before i), each read off the logits of the token before. */
export class ScoredSequence implements TaskSequence {
  readonly start: readonly Token[];
  readonly #backend: Backend;
  readonly #completion: readonly Token[];
  readonly #logprobs: number[] = [];
  readonly #details: TokenDetail[] = [];
  readonly #options: ScoredSequenceOptions;
  #offset = 0;

  constructor(backend: Backend, completion: readonly Token[], options: ScoredSequenceOptions) {
    this.start = completion.slice(0, -1);
    this.#backend = backend;
    this.#completion = completion;
    this.#options = options;
  }

  async accept(rows: readonly Logits[]): Promise<readonly Token[]> {
    const scored = this.#completion.slice(this.#logprobs.length, this.#logprobs.length + rows.length);
    const logprobs = await Promise.all(scored.map((token, i) => this.#backend.logprobs(rows[i] as Logits, [token])));
    this.#logprobs.push(...logprobs.flat());
    for (const [i, token] of scored.entries()) await this.#describe(rows[i] as Logits, token);
    if (this.#logprobs.length === this.#completion.length) this.#options.onDone(this.#logprobs, this.#details);
    return [];
  }

  async #describe(row: Logits, token: Token): Promise<void> {
    const { topLogprobs, describe } = this.#options;
    if (topLogprobs === undefined) return;
    const detail = await detailOf(this.#backend, describe, row, token, topLogprobs);
    this.#details.push({ ...detail, offset: this.#offset });
    this.#offset += detail.text.length;
  }

  dispose(): void {}
}
