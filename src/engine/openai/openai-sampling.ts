/** @module Requests and answers of OpenAI's chat completions, as far as an engine needs them. */
import { z } from "zod";
import type { Conversation } from "../../types/conversation.ts";
import { GatewayError } from "../../types/error.ts";
import type { Prompt, Sample, SampleRequest, TemplateVariables, Token, TokenDetail } from "../engine.ts";
import type { TakenField } from "../taken-fields.ts";
import { LeadingThought, type Parted } from "./leading-thought.ts";

const likely = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()).nullish() });
const logprobs = z
  .object({ content: z.array(likely.extend({ top_logprobs: z.array(likely).nullish() })).nullish() })
  .nullish();
/** What is no count is taken for none. */
const usage = z.object({
  prompt_tokens: z.int().nullish(),
  completion_tokens: z.int().nullish(),
  completion_tokens_details: z.object({ reasoning_tokens: z.int().nullish() }).nullish().catch(null),
});
const texts = z.array(z.looseObject({ text: z.string().nullish() })).transform(joined);
/** Text, or parts of which those with a text are it: others hold thoughts, which are no part of the answer. */
export const contentSchema = z.union([
  z.string().transform((text) => ({ text, thought: "" })),
  z
    .array(
      z.looseObject({
        type: z.string().nullish(),
        text: z.string().nullish(),
        thinking: z.union([z.string(), texts]).nullish().catch(null),
      }),
    )
    .transform((parts) => ({ text: joined(parts), thought: parts.map(({ thinking }) => thinking ?? "").join("") })),
]);

function joined(parts: readonly { readonly text?: string | null | undefined }[]): string {
  return parts.map(({ text }) => text ?? "").join("");
}

/** Thoughts have two names; services that know both say the same by both. What is no text is no thought. */
const thought = z.string().nullish().catch(null);
const words = z
  .object({
    content: contentSchema.nullish(),
    refusal: z.string().nullish(),
    reasoning_content: thought,
    reasoning: thought,
  })
  .nullish();
/** Where a service leaves the index out, the place in the list stands in. An error of one choice is the answer's. */
const choice = z.object({
  index: z.int().nullish(),
  delta: words,
  message: words,
  logprobs,
  finish_reason: z.string().nullish(),
  error: z.null("a choice is an error").optional(),
});
/** Whatever has neither choices nor usage tells of something else: an error, most likely. */
export const chatEvent = z
  .object({ choices: z.array(choice).nullish(), usage: z.unknown().optional(), object: z.string().nullish() })
  .transform(({ choices, usage: given, object }, context) => {
    // Most events of a stream have none.
    const counts = given ? (usage.safeParse(given).data ?? null) : null;
    if (object === "error" || !(choices ?? counts)) context.addIssue("neither choices nor usage");
    return { choices: (choices ?? []).map((one, place) => ({ ...one, index: one.index ?? place })), usage: counts };
  });
export type ChatEvent = z.output<typeof chatEvent>;

/** What is new of an answer: a piece of a stream, or all of it. */
type News = Omit<ChatEvent["choices"][number], "index">;

/** What some services refuse, and the word by which that is known: the name that they take instead, or the field's. */
export const replaceableFields = { max_tokens: "max_completion_tokens", stream_options: "stream_options" } as const;
export type Replaceable = keyof typeof replaceableFields;

/** Ends that are none: the service gave the answer up. */
const givenUp: ReadonlySet<string> = new Set(["error", "abort", "aborted", "cancelled"]);

/**
 * What is OpenAI's default is left out: some models refuse to be told it. Throws "unsupported_parameter" where a
 * grammar is asked for.
 */
export function requestBody(
  { model, takes, refused, room }: Service,
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
    ...(request.maxTokens < room && {
      [refused.has("max_tokens") ? replaceableFields.max_tokens : "max_tokens"]: request.maxTokens,
    }),
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

/** `takes`: fields beside OpenAI's. `refused`: fields that it has refused. `room`: tokens that its context leaves to an answer. */
interface Service {
  readonly model: string;
  readonly refused: ReadonlySet<Replaceable>;
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

export interface Piece {
  /** What is thought before the text. */
  readonly thought: string;
  readonly text: string;
  readonly details?: readonly TokenDetail[];
}

/** One sample as it comes. */
export class OpenAiSample {
  readonly #isDetailed: boolean;
  readonly #decoder = new TextDecoder();
  readonly #details: TokenDetail[] = [];
  /** Of tokens that may be a thought's. */
  #waiting: readonly TokenDetail[] = [];
  readonly #leading = new LeadingThought();
  #offset = 0;
  #text = "";
  #thought = "";
  #finish: string | null = null;
  #hasBegun = false;
  readonly #maxTokens: number;
  /** Tokens, as the service counts them. */
  counted: NonNullable<Sample["counted"]> & { readonly thought: number | null } = {
    prompt: null,
    completion: null,
    thought: null,
  };

  constructor({ topLogprobs, maxTokens }: SampleRequest) {
    this.#isDetailed = topLogprobs !== undefined;
    this.#maxTokens = maxTokens;
  }

  /** The service has said why it ended. */
  get hasEnded(): boolean {
    return this.#finish !== null;
  }

  take(news: News): Piece | null {
    const { content, refusal, reasoning_content: thought, reasoning } = news.delta ?? news.message ?? {};
    // An empty content beside a refusal says nothing.
    const parted = this.#leading.push(content?.text || refusal || "");
    this.#hasBegun = true;
    const entries = (this.#isDetailed && news.logprobs?.content) || [];
    const details = entries.map(({ top_logprobs: top, ...entry }) => {
      const detail = { ...detailOf(entry), offset: this.#offset, top: (top ?? []).map(detailOf) };
      this.#offset += this.#decoder.decode(Uint8Array.from(detail.bytes), { stream: true }).length;
      return detail;
    });
    this.#waiting = [...this.#waiting, ...details];
    this.#finish = news.finish_reason ?? this.#finish;
    const told = thought || reasoning || content?.thought || "";
    return this.#piece({ thought: told + parted.thought, text: parted.text });
  }

  /** What was held back, for it might have been a thought's. */
  rest(): Piece | null {
    return this.#piece(this.#leading.end());
  }

  #piece({ thought, text }: Parted): Piece | null {
    const { answerStart } = this.#leading;
    const details = answerStart === null ? [] : this.#waiting.flatMap((detail) => inAnswer(detail, answerStart));
    if (answerStart !== null) this.#waiting = [];
    this.#details.push(...details);
    this.#thought += thought;
    this.#text += text;
    if (thought === "" && text === "" && details.length === 0) return null;
    return { thought, text, ...(this.#isDetailed && { details }) };
  }

  /**
   * What the service says is over has ended, also where it does not say why: by its length where it counts as many
   * tokens as it might give, else by itself. Throws "engine_failure" where it left the answer out,
   * "engine_unavailable" where it gave it up, "unsupported_parameter" where it told no log-probabilities that were
   * asked for.
   */
  end(estimate: (text: string) => readonly Token[]): Sample {
    if (!this.#hasBegun)
      throw new GatewayError("engine_failure", "The service ended without an answer, or gave fewer than asked for.");
    if (givenUp.has(this.#finish ?? ""))
      throw new GatewayError("engine_unavailable", "The service gave its answer up. Retry the request.");
    const isFull = (this.counted.completion ?? 0) >= this.#maxTokens;
    if (this.#isDetailed && this.#details.length === 0 && this.#text !== "")
      throw new GatewayError("unsupported_parameter", "This route's engine gives no log-probabilities.", {
        param: "logprobs",
      });
    const { prompt, completion, thought } = this.counted;
    return {
      text: this.#text,
      ...(this.#thought !== "" && {
        thought: { text: this.#thought, tokens: thought ?? estimate(this.#thought).length },
      }),
      finish: this.#finish === "length" || (this.#finish === null && isFull) ? "length" : "stop",
      tokens: completion === null ? estimate(this.#thought + this.#text) : new Array<Token>(completion).fill(0),
      logprobs: [],
      endLogprobs: [],
      ...(this.#isDetailed && { details: this.#details }),
      counted: { prompt, completion },
    };
  }
}

/** Offsets count from the answer's beginning; a thought's tokens are none of its. */
function inAnswer(detail: TokenDetail, answerStart: number): TokenDetail[] {
  return detail.offset < answerStart ? [] : [{ ...detail, offset: detail.offset - answerStart }];
}

function detailOf({ token, logprob, bytes }: z.output<typeof likely>): Omit<TokenDetail, "top" | "offset"> {
  return { text: token, bytes: bytes ?? [...new TextEncoder().encode(token)], logprob };
}
