/**
 * @module vLLM as an engine, tried with 0.32. A LoRA adapter is served there under a model name of its own:
 * `settings.model` is then that name.
 */
import { quoted } from "../../text/quoted.ts";
import type { Conversation, Tool } from "../../types/conversation.ts";
import { GatewayError } from "../../types/error.ts";
import type {
  EngineInfo,
  EngineState,
  Prompt,
  RunningEngine,
  SampleEvent,
  SampleRequest,
  ScoreEvent,
  TemplateVariables,
  Token,
  TokenText,
} from "../engine.ts";
import type { RemoteSettings, RemoteWorld } from "../engines.ts";
import type { RemoteServer } from "../server/remote.ts";
import { Replicas } from "../server/replicas.ts";
import { thinkingOf } from "../template/thinking.ts";
import {
  assertSame,
  findListing,
  type Listing,
  nameOf,
  probeTimeoutMs,
  readListing,
  shownName,
  type VllmModel,
} from "./vllm-model.ts";
import { sampleWithVllm } from "./vllm-sampling.ts";
import { VllmScorer } from "./vllm-scoring.ts";
import { VllmTemplate } from "./vllm-template.ts";
import { VllmTokens } from "./vllm-tokenizer.ts";

/** Scoring feeds the end token too, and must sample one more. */
const reservedTokens = 2;

/** What is known of the served model once it has been asked. */
interface Opened {
  readonly info: EngineInfo;
  readonly tokens: VllmTokens;
  readonly template: VllmTemplate | null;
  readonly scorer: VllmScorer;
  readonly model: string;
  /** Closes a response to raw text. */
  readonly end: Token;
}

export function openVllm(settings: RemoteSettings, world: RemoteWorld): RunningEngine {
  return new Vllm(settings, world);
}

class Vllm implements RunningEngine {
  readonly #settings: RemoteSettings;
  readonly #replicas: Replicas;
  /** Not a promise: what one request waits for is not awaited by another. */
  #opened: Opened | undefined;
  /** What replicas must serve as well. */
  #listing: Listing | undefined;

  constructor(settings: RemoteSettings, world: RemoteWorld) {
    this.#settings = settings;
    this.#replicas = new Replicas(settings, world, (server) => this.#probe(server));
  }

  async info(signal?: AbortSignal): Promise<EngineInfo> {
    return (await this.#open(signal)).info;
  }

  async tokenize(texts: readonly string[], signal?: AbortSignal): Promise<Token[][]> {
    return (await this.#open(signal)).tokens.plainTexts(texts, signal);
  }

  async describe(tokens: readonly Token[], signal?: AbortSignal): Promise<TokenText[]> {
    return (await this.#open(signal)).tokens.describe(tokens, signal);
  }

  async detokenize(tokens: readonly Token[], signal?: AbortSignal): Promise<string> {
    return (await (await this.#open(signal)).tokens.detokenize(tokens, signal)).replace(/\uFFFD+$/u, "");
  }

  async textPrompt(text: string, signal?: AbortSignal, special = false): Promise<Prompt> {
    const { tokens, end } = await this.#open(signal);
    return { ...(await tokens.text(text, special, signal)), end };
  }

  async chatPrompt(
    messages: Conversation,
    signal?: AbortSignal,
    _tools?: readonly Tool[],
    variables?: TemplateVariables,
  ): Promise<Prompt> {
    const { template, end } = await this.#open(signal);
    if (template === null)
      throw new GatewayError("invalid_request", "The model that vLLM serves has no chat template.", {
        param: "messages",
      });
    return { tokens: await template.encode(messages, signal, variables), end: template.end ?? end };
  }

  async *sample(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
    const { model, tokens } = await this.#open(signal);
    const textOf: VllmTokens["continuation"] = (ids, until) => tokens.continuation(ids, until);
    yield* sampleWithVllm(this.#serves(model), textOf, prompt, request, signal);
  }

  async *score(
    prompt: Prompt,
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
    signal?: AbortSignal,
    topLogprobs?: number,
  ): AsyncGenerator<ScoreEvent> {
    const { scorer } = await this.#open(signal);
    yield* scorer.score(prompt, completions, signal, topLogprobs);
  }

  state(): Promise<EngineState> {
    return this.#replicas.state();
  }

  /** Nothing runs here: calls under way have their own signals. */
  async close(): Promise<void> {}

  async #open(signal?: AbortSignal): Promise<Opened> {
    this.#opened ??= await this.#ask(signal);
    return this.#opened;
  }

  /** Throws "configuration" where replicas serve different models, "engine_unavailable" where none answers. */
  async #ask(signal?: AbortSignal): Promise<Opened> {
    const listing = await findListing(this.#replicas, this.#settings.model, signal);
    this.#listing = listing;
    const model = listing.id;
    const served = this.#serves(model);
    const tokens = new VllmTokens(served);
    const template = await VllmTemplate.open(served, tokens, signal);
    const endOfSequence = await tokens.endOfSequence(signal);
    const end = endOfSequence ?? template?.end ?? null;
    if (end === null)
      throw new GatewayError(
        "engine_failure",
        `vLLM does not tell the end-of-sequence token of ${quoted(model, shownName)}: it has no grammars.`,
      );
    const most = this.#settings.contextSize ?? Number.POSITIVE_INFINITY;
    const contextSize = Math.min(most, (listing.contextSize ?? most) - reservedTokens);
    if (!Number.isFinite(contextSize))
      throw new GatewayError(
        "configuration",
        `vLLM does not tell the context size of ${quoted(model, shownName)}: set context_size.`,
      );
    const thinking = await thinkingOf(template?.thoughts ?? null, (text) => tokens.special(text, signal));
    const capabilities = {
      ...(thinking && { thinking }),
      chat: template !== null,
      text: true,
      score: true,
      grammar: endOfSequence !== null,
      tools: null,
      lacks: { repetitionWindow: "vLLM looks at the whole text" },
    };
    return {
      info: {
        model: `vllm:${nameOf(listing)}`,
        contextSize,
        longerContext: "Raise this engine's context_size, if it is set, and vLLM's --max-model-len.",
        capabilities,
      },
      tokens,
      template,
      scorer: new VllmScorer(served),
      model,
      end,
    };
  }

  #serves(model: string): VllmModel {
    return { model, replicas: this.#replicas, isSeparate: this.#settings.prefixCache !== "shared" };
  }

  async #probe(server: RemoteServer): Promise<void> {
    await server.text({ path: "/health", timeoutMs: probeTimeoutMs });
    if (this.#listing !== undefined) assertSame(this.#listing, await readListing(server, this.#settings.model));
  }
}
