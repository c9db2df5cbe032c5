/** @module The narrow interface between the method and whatever runs the language model. */
import type { Conversation, Tool, ToolSyntax } from "../types/conversation.ts";

export type Token = number;

/** A context, tokenised, and the token that closes a response in it. */
export interface Prompt {
  readonly tokens: readonly Token[];
  /** End of sequence for raw text; the closing token of an assistant turn for a chat template. */
  readonly end: Token;
  /** Other tokens that end a response in it: by them the turn is left. They are not part of it. Absent: none. */
  readonly leaves?: readonly Token[] | undefined;
  /**
   * Whose words it holds, by an opaque name: no other tenant may learn from a cache what they are. Absent: there are no
   * others.
   */
  readonly tenant?: string | undefined;
  /** So many of its first tokens hold no tenant's words, and may be had from a cache by all; absent: none. */
  readonly shared?: number | undefined;
  /** So many of its first tokens are not of the text: what the tokenizer begins one with. Absent: that is not known. */
  readonly opening?: number | undefined;
}

/** Stand before what precedes a gap in a text, before what follows it, and before what fills it. */
export interface InfillTokens {
  readonly prefix: Token;
  readonly suffix: Token;
  readonly middle: Token;
}

/** How a model's thoughts are written before its answers. */
export interface Thinking {
  /** What the chat template is told for a prompt that thinks. */
  readonly on: TemplateVariables;
  /** What it is told for one that does not; null: thinking cannot be turned off. */
  readonly off: TemplateVariables | null;
  /** Tokens that follow a prompt which thinks, before the thought. */
  readonly opening: readonly Token[];
  /** Tokens that follow a prompt which does not, before the answer. */
  readonly skipping: readonly Token[];
  /** What the model writes to close its thought. */
  readonly marker: string;
  /** The same as one token; absent: it takes several. */
  readonly markerToken?: Token | undefined;
  /** White space that stands between a thought and its marker. */
  readonly space: string;
  /** Tokens from the marker to the answer. */
  readonly closing: readonly Token[];
  /** A prompt thinks, where the template is told nothing of it. */
  readonly byDefault: boolean;
  /** Levels that the template knows by the variable `reasoning_effort`; empty: none. */
  readonly efforts: readonly string[];
}

export interface Capabilities {
  /** The model has a chat template. */
  readonly chat: boolean;
  /** Raw text and token ids can be contexts. Where they cannot, tokens are estimates, good for counting only. */
  readonly text: boolean;
  /** Log-probabilities of given completions can be had. */
  readonly score: boolean;
  /** Completions can be kept to a grammar (GBNF). */
  readonly grammar: boolean;
  /** The chat template's own tool calls; null where it has none, or writes them in a way that cannot be read. */
  readonly tools: ToolSyntax | null;
  /** What requests may ask for that it does not do, each with the reason; absent: it does all. */
  readonly lacks?: Lacks | undefined;
  /** A completion can be sampled by the contrast of two contexts (`SampleRequest.contrast`); absent: it cannot. */
  readonly contrast?: boolean | undefined;
  /** The model thinks before it answers, if it is let; absent: it does not, or its thoughts cannot be told apart. */
  readonly thinking?: Thinking | undefined;
  /** The vocabulary's tokens for filling in the middle; absent: it has none, or the engine does not tell. */
  readonly infill?: InfillTokens | undefined;
}

/** What a request tells the chat template beside messages and tools: JSON, by names. */
export type TemplateVariables = Readonly<Record<string, unknown>>;

/** "penaltiesTogether": a repetition penalty beside OpenAI's two. */
export type Optional =
  | "topK"
  | "minP"
  | "repetitionPenalty"
  | "repetitionWindow"
  | "minTokens"
  | "ignoreEos"
  | "penaltiesTogether"
  | "templateVariables";

export type Lacks = { readonly [Name in Optional]?: string };

export interface EngineInfo {
  /** What the weights are, for policy hashes: the same id, the same model. */
  readonly model: string;
  /** Tokens that a prompt and its completion may take together. */
  readonly contextSize: number;
  /** What whoever runs the gateway can do for a longer context: a sentence. */
  readonly longerContext?: string | undefined;
  /** A text of more characters takes more tokens than the context holds; absent: that is not known. */
  readonly mostCharacters?: number | undefined;
  /** Tokens are 0 to this, less one; absent: that is not known. */
  readonly vocabularySize?: number | undefined;
  readonly capabilities: Capabilities;
  /** Its cache of prefixes tells `Prompt.shared` from a tenant's own words. */
  readonly sharesPrefixes?: boolean | undefined;
}

export interface SamplingParameters {
  /** 0 is greedy. */
  readonly temperature: number;
  readonly topP: number;
  /** 0 keeps the whole vocabulary. */
  readonly topK: number;
  /** Tokens that are less likely than this share of the likeliest one are left out. */
  readonly minP?: number | undefined;
  readonly maxTokens: number;
  /** So many tokens are sampled before the model can end its turn; a stop string ends it all the same. */
  readonly minTokens?: number | undefined;
  /** The model cannot end its turn. */
  readonly ignoreEos?: boolean | undefined;
  /** Generation ends before the first of these strings. */
  readonly stop: readonly string[];
  /**
   * Subtracted from the logit of each token that the completion holds already, once (presence) and as often as it does
   * (frequency): OpenAI's definition.
   */
  readonly presencePenalty?: number | undefined;
  readonly frequencyPenalty?: number | undefined;
  /**
   * Divides the logit of each token that the text holds already, the prompt included, or multiplies it where it is
   * negative: the definition of llama.cpp, vLLM and transformers.
   */
  readonly repetitionPenalty?: number | undefined;
  /** So many tokens at the text's end are looked at for it; absent: all. */
  readonly repetitionWindow?: number | undefined;
  /** Added to tokens' logits. */
  readonly logitBias?: ReadonlyMap<Token, number> | undefined;
}

export interface TokenText {
  readonly text: string;
  /** Its bytes in UTF-8: a token may hold half a character. */
  readonly bytes: readonly number[];
}

/** A token with what a client may want to know of it. */
export interface TokenDetail extends TokenText {
  /** The model's own log-probability, in nats. */
  readonly logprob: number;
  /** Where it begins in the text, in UTF-16 code units. */
  readonly offset: number;
  /** The most likely tokens at its place, the likeliest first, as many as asked for. */
  readonly top: readonly Omit<TokenDetail, "top" | "offset">[];
}

/**
 * Sampling by contrast: each token from π(· ∣ C⁺)·(π(· ∣ C⁺) / π(· ∣ C⁻))^α among the `top` likeliest after C⁺, which is
 * the call's prompt.
 */
export interface Contrast {
  /** C⁻: what is sampled after C⁺ is fed after it as well. */
  readonly prompt: Prompt;
  /** α; 0 is sampling from C⁺ itself, among its `top` likeliest. */
  readonly alpha: number;
  /** At least 1. */
  readonly top: number;
}

export interface SampleRequest extends SamplingParameters {
  /** One seed a sample; their number is n. */
  readonly seeds: readonly number[];
  /** Tokens that end it beside those that end every generation; absent: none. They are not part of it. */
  readonly endTokens?: readonly Token[] | undefined;
  /** Return the log-probabilities of sampled tokens, and of ending before each. */
  readonly logprobs: boolean;
  /** Details of each token, with so many alternatives. */
  readonly topLogprobs?: number | undefined;
  /** Nobody looks at text before its sample is done: an engine that pays for each piece can fetch it whole. */
  readonly whole?: boolean | undefined;
  /** GBNF: the completion is a text of this grammar, or a beginning of one where it ends in "length". */
  readonly grammar?: string | undefined;
  /** Only of one sample, and from engines whose capabilities have it; absent: the prompt alone decides. */
  readonly contrast?: Contrast | undefined;
}

/**
 * "stop": the model closed its turn, or an end token or stop string of the request was met. "length": `maxTokens` or
 * the context's end.
 */
export type FinishReason = "stop" | "length";

/**
 * One sampled completion. Log-probabilities are the model's own (raw logits, in nats), not those after top-p or
 * temperature.
 */
export interface Sample {
  readonly text: string;
  readonly finish: FinishReason;
  /** The stop string that ended it; absent where none did, and from engines that do not tell. */
  readonly stopString?: string | undefined;
  /** The sampled tokens, the closing token not among them. */
  readonly tokens: readonly Token[];
  /** `[tokens]`, if asked for: log π(token i ∣ prompt, tokens before i). */
  readonly logprobs: readonly number[];
  /**
   * `[tokens]`, and of the one that closed it, where it was sampled by contrast: log π(token ∣ C⁺) − log π(token ∣ C⁻),
   * in nats.
   */
  readonly logRatios?: readonly number[] | undefined;
  /**
   * `[tokens + 1]` or one less, if asked for: log π(end ∣ prompt, the first i tokens); null where the engine does not
   * know it.
   */
  readonly endLogprobs: readonly (number | null)[];
  /** `[tokens in the text]`, if asked for. */
  readonly details?: readonly TokenDetail[] | undefined;
  /**
   * Of sampled tokens that the text does not show: half a character at its end, and the one that closed it. With
   * `details`, where no stop string ended it; absent: the engine does not tell.
   */
  readonly rest?: readonly TokenDetail[] | undefined;
  /** What the server counted, where the engine's own tokens are estimates; null where it did not. */
  readonly counted?: { readonly prompt: number | null; readonly completion: number | null } | undefined;
  /**
   * What a server that thinks for itself tells of its thought, which is no part of the text; its tokens are among those
   * of the sample. Absent: nothing.
   */
  readonly thought?: { readonly text: string; readonly tokens: number } | undefined;
}

/**
 * Waiting is over, and so many of the prompt's tokens have been prefilled by now, those found in a cache not among
 * them. A sign of progress: it comes again and again until the prompt is at hand. 0, from a server that tells no more:
 * the call has gone out.
 */
export interface PrefillEvent {
  readonly type: "prefill";
  readonly fed: number;
}

/**
 * The prompt is at hand; so many of its tokens were found in a cache of prefixes. Comes again where that is known only
 * later.
 */
export interface PromptEvent {
  readonly type: "prompt";
  readonly cached: number;
}

/** Text that is now certain to belong to the completion, and the details of the tokens that begin in it. */
export interface TextEvent {
  readonly type: "text";
  readonly index: number;
  readonly text: string;
  /**
   * Sampled since the text before. Where a server does not tell, an estimate; the sample's own tokens, at its end, hold
   * then.
   */
  readonly tokens: number;
  readonly details?: readonly TokenDetail[] | undefined;
}

/** What a server that thinks for itself tells of its thought, as it comes. `tokens`: as of text. */
export interface ThoughtEvent {
  readonly type: "thought";
  readonly index: number;
  readonly text: string;
  readonly tokens: number;
}

export type SampleEvent =
  | PrefillEvent
  | PromptEvent
  | ThoughtEvent
  | TextEvent
  | { readonly type: "done"; readonly index: number; readonly sample: Sample };

export type ScoreEvent =
  | PrefillEvent
  | PromptEvent
  /**
   * `[tokens]`: log π(token i ∣ prompt, tokens before i) of the completion that came as number `index`; details if
   * asked for.
   */
  | {
      readonly type: "scored";
      readonly index: number;
      readonly logprobs: readonly number[];
      readonly details?: readonly TokenDetail[] | undefined;
    };

/**
 * An engine tokenises, renders its chat template, samples completions of a prompt, and returns log-probabilities of
 * given completions. Text from clients and demonstrations never becomes a control token, but where `textPrompt` is
 * told so. Every method throws a `GatewayError`: "engine_unavailable" when the engine is down,
 * "context_length_exceeded" when a prompt leaves no room, "cancelled" when the signal fires.
 *
 * @example
 * const prompt = await engine.chatPrompt([{ role: "user", content: "Hi" }], signal);
 * const parameters = { temperature: 1, topP: 1, topK: 0, maxTokens: 64, stop: [] };
 * for await (const event of engine.sample(prompt, { ...parameters, seeds: [1, 2], logprobs: true }, signal))
 *   if (event.type === "done") console.log(event.index, event.sample.text); // two samples
 */
export interface Engine {
  /** Resolves when the engine is ready. */
  info(signal?: AbortSignal): Promise<EngineInfo>;
  /** `[texts][tokens]`, each text on its own, without BOS; the spelling of a control token stays plain text. */
  tokenize(texts: readonly string[], signal?: AbortSignal): Promise<Token[][]>;
  /** `[tokens]`: text and bytes of each token on its own. */
  describe(tokens: readonly Token[], signal?: AbortSignal): Promise<TokenText[]>;
  /** The text of tokens in a row; what may be half a character at its end is left out. */
  detokenize(tokens: readonly Token[], signal?: AbortSignal): Promise<string>;
  /**
   * Raw text as a context: BOS where the model's tokenizer says so, and the text does not begin with it; responses end
   * with EOS. `special`: the spelling of a control token is the token, which is for texts that are one client's own.
   */
  textPrompt(text: string, signal?: AbortSignal, special?: boolean): Promise<Prompt>;
  /**
   * The model's chat template applied to the messages and tools (only where it has a syntax for them), ready for the
   * assistant's turn. `variables`: what else the template is told; no text in them can act as a delimiter either.
   */
  chatPrompt(
    messages: Conversation,
    signal?: AbortSignal,
    tools?: readonly Tool[],
    variables?: TemplateVariables,
  ): Promise<Prompt>;
  /**
   * n samples, stepped together; "text" events as they decode, one "done" a sample. Leaving the loop stops the work.
   */
  sample(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncIterable<SampleEvent>;
  /**
   * Teacher forcing: the log-probabilities of each completion after the prompt. Completions are scored as they come, in
   * any order; the prompt is made ready while the first is awaited. Leaving the loop stops the work. With
   * `topLogprobs`: details of each token, with so many alternatives.
   *
   * @example
   * const [tokens = []] = await engine.tokenize(["Hello!"]);
   * for await (const event of engine.score(prompt, [[...tokens, prompt.end]]))
   *   if (event.type === "scored") console.log(event.logprobs); // log π of each token, and of ending there
   */
  score(
    prompt: Prompt,
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
    signal?: AbortSignal,
    topLogprobs?: number,
  ): AsyncIterable<ScoreEvent>;
}

export interface EngineState {
  /** "ready": it can answer. */
  readonly status: string;
}

/** Tasks and sequences in the engine's process: what a leak would show in, and what a hang. */
export interface EngineLoad {
  readonly active: number;
  readonly waiting: number;
  readonly freeSequences: number;
  /** What the step under way has taken; 0 between steps. */
  readonly stepMs: number;
  /** Threads that are fastest in its steps at present, if it need not share the cores; 0: not known yet. */
  readonly threads: number;
}

/** An engine that runs as long as the program does, or is reached over the network as long. */
export interface RunningEngine extends Engine {
  /** For /health and /ready; whatever else is worth knowing may stand beside the status. Never throws. */
  state(): Promise<EngineState>;
  close(): Promise<void>;
}
