/** @module Requests and answers of OpenAI's chat completions, as far as an engine needs them. */
import { z } from "zod";
import type { Conversation } from "../../types/conversation.ts";
import { GatewayError } from "../../types/error.ts";
import type { Prompt, Sample, SampleRequest, TemplateVariables, Token, TokenDetail } from "../engine.ts";
import type { TakenField } from "../taken-fields.ts";

const likely = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()).nullish() });
const logprobs = z
  .object({ content: z.array(likely.extend({ top_logprobs: z.array(likely).nullish() })).nullish() })
  .nullish();
const usage = z.object({ prompt_tokens: z.int().nullish(), completion_tokens: z.int() }).nullish();
const words = z.object({ content: z.string().nullish(), refusal: z.string().nullish() });
const finish = z.string().nullish();

export const chatChunk = z.object({
  choices: z.array(z.object({ index: z.int(), delta: words, logprobs, finish_reason: finish })),
  usage,
});
export const chatAnswer = z.object({
  choices: z.array(z.object({ index: z.int(), message: words, logprobs, finish_reason: finish })),
  usage,
});
export type ChatEvent = z.output<typeof chatChunk> | z.output<typeof chatAnswer>;

/** What is new of an answer: a piece of a stream, or all of it. */
interface News {
  readonly delta?: z.output<typeof words>;
  readonly message?: z.output<typeof words>;
  readonly logprobs?: z.output<typeof logprobs>;
  readonly finish_reason?: string | null | undefined;
}

/**
 * What is OpenAI's default is left out: some models refuse to be told it. Throws "unsupported_parameter" where a
 * grammar is asked for.
 */
export function requestBody(
  { model, takes, room }: Service,
  { messages, variables }: MessagesPrompt,
  request: SampleRequest,
): object {
  const {
    temperature,
    topP,
    seeds,
    stop,
    presencePenalty = 0,
    frequencyPenalty = 0,
    logitBias,
    topLogprobs,
    grammar,
  } = request;
  if (grammar !== undefined)
    throw new GatewayError(
      "unsupported_parameter",
      "This route's engine (type openai) cannot keep to a grammar, which tools and JSON formats need.",
    );
  return {
    model,
    messages: messages.map(({ role, content, name }) => ({ role, content, ...(name !== undefined && { name }) })),
    // What the context leaves is no bound of anybody's: services have their own.
    ...(request.maxTokens < room && { max_tokens: request.maxTokens }),
    // Some services read 32 bits with a sign.
    seed: (seeds[0] ?? 0) >>> 1,
    ...(seeds.length > 1 && { n: seeds.length }),
    ...(temperature !== 1 && { temperature }),
    ...(topP !== 1 && { top_p: topP }),
    ...(stop.length > 0 && { stop }),
    ...(presencePenalty !== 0 && { presence_penalty: presencePenalty }),
    ...(frequencyPenalty !== 0 && { frequency_penalty: frequencyPenalty }),
    ...(logitBias && logitBias.size > 0 && { logit_bias: Object.fromEntries(logitBias) }),
    ...(topLogprobs !== undefined && { logprobs: true, ...(topLogprobs > 0 && { top_logprobs: topLogprobs }) }),
    ...others(takes, request, variables),
  };
}

/** `takes`: fields beside OpenAI's. `room`: tokens that its context leaves to an answer. */
interface Service {
  readonly model: string;
  readonly takes: ReadonlySet<string>;
  readonly room: number;
}

/** What is not OpenAI's, in the words of vLLM and llama.cpp, as far as the service takes it. */
function others(
  takes: ReadonlySet<string>,
  { topK, minP, repetitionPenalty, repetitionWindow, minTokens, ignoreEos }: SampleRequest,
  variables: TemplateVariables | undefined,
): Record<string, unknown> {
  const said: Record<TakenField, unknown> = {
    top_k: topK,
    min_p: minP,
    repetition_penalty: repetitionPenalty,
    repeat_penalty: repetitionPenalty,
    repeat_last_n: repetitionWindow,
    min_tokens: minTokens,
    ignore_eos: ignoreEos,
    chat_template_kwargs: variables,
  };
  return Object.fromEntries(Object.entries(said).filter(([name, value]) => takes.has(name) && value !== undefined));
}

/** A prompt that is still a conversation. */
export interface MessagesPrompt extends Prompt {
  readonly messages: Conversation;
  readonly variables?: TemplateVariables | undefined;
}

interface Piece {
  readonly text: string;
  readonly details?: readonly TokenDetail[];
}

/** One sample as it comes. */
export class OpenAiSample {
  readonly #isDetailed: boolean;
  readonly #decoder = new TextDecoder();
  readonly #details: TokenDetail[] = [];
  #offset = 0;
  #text = "";
  #finish: string | null = null;
  /** Tokens, as the service counts them. */
  counted: NonNullable<Sample["counted"]> = { prompt: null, completion: null };

  constructor({ topLogprobs }: SampleRequest) {
    this.#isDetailed = topLogprobs !== undefined;
  }

  take(news: News): Piece | null {
    const { content, refusal } = news.delta ?? news.message ?? {};
    const text = content ?? refusal ?? "";
    const entries = (this.#isDetailed && news.logprobs?.content) || [];
    const details = entries.map(({ top_logprobs: top, ...entry }) => {
      const detail = { ...detailOf(entry), offset: this.#offset, top: (top ?? []).map(detailOf) };
      this.#offset += this.#decoder.decode(Uint8Array.from(detail.bytes), { stream: true }).length;
      return detail;
    });
    this.#details.push(...details);
    this.#text += text;
    this.#finish = news.finish_reason ?? this.#finish;
    return text === "" && details.length === 0 ? null : { text, ...(this.#isDetailed && { details }) };
  }

  /**
   * Throws "engine_failure" where the service left the answer out, "unsupported_parameter" where it told no
   * log-probabilities that were asked for.
   */
  end(estimate: (text: string) => readonly Token[]): Sample {
    if (this.#finish === null)
      throw new GatewayError(
        "engine_failure",
        "The service ended its answer without a finish reason, or gave fewer answers than asked for.",
      );
    if (this.#isDetailed && this.#details.length === 0 && this.#text !== "")
      throw new GatewayError("unsupported_parameter", "This route's engine gives no log-probabilities.", {
        param: "logprobs",
      });
    return {
      text: this.#text,
      finish: this.#finish === "length" ? "length" : "stop",
      tokens:
        this.counted.completion === null ? estimate(this.#text) : new Array<Token>(this.counted.completion).fill(0),
      logprobs: [],
      endLogprobs: [],
      ...(this.#isDetailed && { details: this.#details }),
      counted: this.counted,
    };
  }
}

function detailOf({ token, logprob, bytes }: z.output<typeof likely>): Omit<TokenDetail, "top" | "offset"> {
  return { text: token, bytes: bytes ?? [...new TextEncoder().encode(token)], logprob };
}
