/** @module Samples of llama-server: n completions of a prompt that is computed once, in one call. */
import { GatewayError } from "../../types/error.ts";
import type { Prompt, Sample, SampleEvent, SampleRequest, Token, TokenDetail } from "../engine.ts";
import type { Replicas } from "../server/replicas.ts";
import {
  type CompletionBody,
  type CompletionEvent,
  type CompletionModel,
  complete,
  detailOf,
  logprobAt,
  logprobOf,
  prefillOf,
} from "./completion-events.ts";
import type { LlamaServerModel } from "./llama-server-model.ts";

/** A text's tokens, and their details if asked for, where the server has not shown all that were sampled. */
export type Rescore = (text: string) => Promise<Pick<Sample, "tokens" | "details">>;

/** As many samples as seeds. The server makes seeds of its own from the first. */
export async function* sampleTogether(
  replicas: Replicas,
  model: LlamaServerModel,
  prompt: Prompt,
  request: SampleRequest,
  rescore: Rescore,
  signal?: AbortSignal,
): AsyncGenerator<SampleEvent> {
  const running = new Map(request.seeds.map((_, index) => [index, new LlamaServerSample(model, prompt, request)]));
  let isReady = false;
  for await (const event of complete(replicas, model, prompt.tokens, bodyOf(model, prompt, request), signal)) {
    const { prompt_progress: progress, index } = event;
    if (!isReady && (!progress || progress.processed >= progress.total)) {
      isReady = true;
      yield { type: "prompt", cached: progress?.cache ?? 0 };
    } else if (!isReady && progress) yield prefillOf(progress);
    const completion = running.get(index);
    if (progress || completion === undefined) continue;
    completion.take(event);
    const piece = completion.show();
    if (piece !== null) yield { type: "text", index, ...piece };
    if (!completion.isOver) continue;
    running.delete(index);
    const sample = completion.end(completion.isComplete ? null : await rescore(completion.text));
    const rest = completion.show();
    if (rest !== null) yield { type: "text", index, ...rest };
    yield { type: "done", index, sample };
    // Else the end of the stream is near, and the connection can be used again.
    if (running.size === 0 && !event.stop) return;
  }
  if (running.size > 0)
    throw new GatewayError(
      "engine_unavailable",
      "llama-server broke off in the middle of a completion. Retry the request.",
    );
}

/** Biases, penalties, top-k, top-p, min-p, temperature: the embedded engine's order. */
function bodyOf({ info, vocabulary }: LlamaServerModel, prompt: Prompt, request: SampleRequest): CompletionBody {
  const { seeds, logprobs, topLogprobs, grammar, frequencyPenalty = 0, presencePenalty = 0 } = request;
  const { repetitionPenalty = 1, repetitionWindow = info.contextSize } = request;
  const penalizes = repetitionPenalty !== 1 && repetitionWindow > 0;
  if (presencePenalty !== 0)
    throw new GatewayError(
      "unsupported_parameter",
      "llama-server counts the prompt's tokens as present: presence_penalty has no effect that OpenAI's API means. Use frequency_penalty.",
      {
        param: "presence_penalty",
      },
    );
  const bias = new Map<Token, number | false>(request.logitBias);
  // The server counts the prompt's tokens as well; what it subtracts for them is added.
  if (frequencyPenalty !== 0)
    for (const token of prompt.tokens) bias.set(token, Number(bias.get(token) ?? 0) + frequencyPenalty);
  // A control token's spelling may fit the grammar.
  if (grammar !== undefined)
    for (const token of vocabulary.control.values())
      if (token !== prompt.end && token !== vocabulary.endOfSequence) bias.set(token, false);
  // The server forbids what ends a generation; after any other control token the model has left its turn, too.
  if (request.ignoreEos) for (const token of vocabulary.control.values()) bias.set(token, false);
  return {
    n_predict: request.maxTokens,
    n_cmpl: seeds.length,
    // Not the number that stands for a random one.
    seed: (seeds[0] ?? 0) >>> 1,
    samplers: ["penalties", "top_k", "top_p", "min_p", "temperature"],
    temperature: request.temperature,
    dynatemp_range: 0,
    top_k: request.topK,
    top_p: request.topP,
    min_p: request.minP ?? 0,
    ignore_eos: request.ignoreEos ?? false,
    repeat_penalty: penalizes ? repetitionPenalty : 1,
    presence_penalty: 0,
    frequency_penalty: frequencyPenalty,
    repeat_last_n: penalizes ? Math.min(repetitionWindow, info.contextSize) : info.contextSize,
    stop: request.stop,
    logit_bias: [...bias],
    n_probs: logprobs || topLogprobs !== undefined ? Math.max(1, topLogprobs ?? 0) : 0,
    ...(grammar !== undefined && { grammar }),
  };
}

interface Piece {
  readonly text: string;
  readonly tokens: number;
  readonly details?: readonly TokenDetail[] | undefined;
}

/** One completion as its tokens come. */
class LlamaServerSample {
  readonly #model: CompletionModel;
  readonly #end: Token;
  readonly #request: SampleRequest;
  readonly #decoder = new TextDecoder();
  readonly #tokens: Token[] = [];
  readonly #logprobs: number[] = [];
  readonly #endLogprobs: (number | null)[] = [];
  #details: readonly TokenDetail[] = [];
  /** The token that closed it. */
  #closing: TokenDetail | undefined;
  /** Of all tokens; `text` may be behind it where a stop string may have begun, or end before it where one was met. */
  #decoded = "";
  #shown = 0;
  /** Tokens that have been told of with text. */
  #told = 0;
  #sampled = 0;
  #hasLeft = false;
  /** Details of the tokens in `text` are at hand. */
  #isDetailed = true;
  #finish: Sample["finish"] = "length";
  #stopString: string | undefined;
  text = "";
  isOver = false;
  /** All tokens that were sampled have come. */
  isComplete = true;

  constructor(model: CompletionModel, prompt: Prompt, request: SampleRequest) {
    this.#model = model;
    this.#end = prompt.end;
    this.#request = request;
  }

  take(event: CompletionEvent): void {
    const { tokens_predicted: sampled, stop_type: type, stopping_word: word } = event;
    if (event.stop) {
      this.isOver = true;
      if (type === "eos" || type === "word") this.#finish = "stop";
      if (type === "word" && word) this.#stopString = word;
    } else this.#addToken(event);
    if (this.isOver && !event.stop) return;
    this.text += event.content;
    if (this.#sampled !== sampled) this.isComplete = false;
    this.#isDetailed = this.isComplete;
  }

  /** Text that has not been shown. It is held back while details of its tokens are wanted and not at hand. */
  show(): Piece | null {
    const { topLogprobs } = this.#request;
    if (this.text.length === this.#shown || (topLogprobs !== undefined && !this.#isDetailed)) return null;
    const between = ({ offset }: TokenDetail): boolean => offset >= this.#shown && offset < this.text.length;
    const details = topLogprobs !== undefined && { details: this.#details.filter(between) };
    const piece = { text: this.text.slice(this.#shown), tokens: this.#tokens.length - this.#told, ...details };
    this.#shown = this.text.length;
    this.#told = this.#tokens.length;
    return piece;
  }

  /**
   * `anew`: tokens of the text that stand for those sampled, of which some are missing; there are no log-probabilities
   * then.
   */
  end(anew: Pick<Sample, "tokens" | "details"> | null): Sample {
    const { logprobs: wantsLogprobs, topLogprobs } = this.#request;
    this.#isDetailed = true;
    if (anew !== null) this.#details = anew.details ?? [];
    // The server keeps what may begin a stop string to itself, even where none comes.
    else if (this.#finish === "length" && this.#decoded.startsWith(this.text)) this.text = this.#decoded;
    const details = this.#details.filter(({ offset }) => offset < this.text.length);
    return {
      text: this.text,
      finish: this.#finish,
      stopString: this.#stopString,
      tokens: anew?.tokens ?? this.#tokens,
      logprobs: wantsLogprobs && anew === null ? this.#logprobs : [],
      endLogprobs: wantsLogprobs && anew === null ? this.#endLogprobs : [],
      ...(topLogprobs !== undefined && { details, ...this.#rest(anew !== null) }),
    };
  }

  /** Not known where the closing token did not come, or others did not. */
  #rest(isAnew: boolean): Pick<Sample, "rest"> {
    if (isAnew || (this.#finish === "stop" && this.#closing === undefined)) return {};
    return { rest: this.#closing === undefined ? [] : [{ ...this.#closing, offset: this.text.length }] };
  }

  #addToken({ tokens: [token], completion_probabilities: probabilities }: CompletionEvent): void {
    if (token === undefined) return;
    // The server goes on after a control token that does not end a generation; the model has left its turn.
    if (this.#hasLeft) this.isOver = true;
    if (this.isOver) return;
    const { vocabulary } = this.#model;
    const [entry] = probabilities ?? [];
    this.#sampled += 1;
    this.#endLogprobs.push(logprobAt(entry, this.#end));
    const { topLogprobs } = this.#request;
    if (vocabulary.isControl(token)) {
      this.#hasLeft = true;
      this.#finish = "stop";
      if (entry !== undefined) this.#closing = detailOf(vocabulary, entry, topLogprobs ?? 0, this.#decoded.length);
      return;
    }
    this.#tokens.push(token);
    if (entry !== undefined) this.#logprobs.push(logprobOf(entry));
    if (entry !== undefined && topLogprobs !== undefined)
      this.#details = [...this.#details, detailOf(vocabulary, entry, topLogprobs, this.#decoded.length)];
    this.#decoded += this.#decoder.decode(vocabulary.bytes(token), { stream: true });
  }
}
