/**
 * @module vLLM as an engine, tried with 0.32. A LoRA adapter is served there under a model name of its own: `settings.model` is then that name.
 */
import { z } from "zod";
import { quoted } from "../../text/quoted.ts";
import type { Conversation } from "../../types/conversation.ts";
import { GatewayError } from "../../types/error.ts";
import type {
  EngineInfo,
  EngineState,
  Prompt,
  RunningEngine,
  SampleEvent,
  SampleRequest,
  ScoreEvent,
  Token,
  TokenText,
} from "../engine.ts";
import type { RemoteSettings, RemoteWorld } from "../engines.ts";
import type { RemoteServer } from "../server/remote.ts";
import { Replicas } from "../server/replicas.ts";
import { sampleWithVllm } from "./vllm-sampling.ts";
import { VllmScorer } from "./vllm-scoring.ts";
import { VllmTemplate } from "./vllm-template.ts";
import { type ServedModel, VllmTokens } from "./vllm-tokenizer.ts";

const listed = z.object({ data: z.array(z.object({ id: z.string(), root: z.string().nullish(), max_model_len: z.int().nullish() })) });
type Listed = z.infer<typeof listed>["data"][number];

/** vLLM answers it at once, however busy it is. */
const probeTimeoutMs = 5_000;
/** Of a server's models, in a complaint: how many, and characters of each name. */
const shownModels = 20;
const shownName = 100;
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
  #served: { readonly model: Listed; readonly by: RemoteServer } | undefined;

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

  async textPrompt(text: string, signal?: AbortSignal): Promise<Prompt> {
    const { tokens, end } = await this.#open(signal);
    return { tokens: await tokens.text(text, signal), end };
  }

  async chatPrompt(messages: Conversation, signal?: AbortSignal): Promise<Prompt> {
    const { template, end } = await this.#open(signal);
    if (template === null)
      throw new GatewayError("invalid_request", "The model that vLLM serves has no chat template.", { param: "messages" });
    return { tokens: await template.encode(messages, signal), end: template.end ?? end };
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
    const { model: listing } = await this.#findModel(signal);
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
    const contextSize = Math.min(most, (listing.max_model_len ?? most) - reservedTokens);
    if (!Number.isFinite(contextSize))
      throw new GatewayError("configuration", `vLLM does not tell the context size of ${quoted(model, shownName)}: set context_size.`);
    const capabilities = { chat: template !== null, text: true, score: true, grammar: endOfSequence !== null, tools: null };
    return {
      info: { model: `vllm:${nameOf(listing)}`, contextSize, capabilities },
      tokens,
      template,
      scorer: new VllmScorer(served),
      model,
      end,
    };
  }

  #serves(model: string): ServedModel {
    return { model, replicas: this.#replicas, isSeparate: this.#settings.prefixCache !== "shared" };
  }

  async #findModel(signal?: AbortSignal): Promise<{ model: Listed; by: RemoteServer }> {
    const listings = await Promise.allSettled(this.#replicas.servers.map(async (by) => ({ model: await this.#listing(by, signal), by })));
    const found = listings.flatMap((listing) => (listing.status === "fulfilled" ? [listing.value] : []));
    const refused = listings.flatMap((listing) => (listing.status === "rejected" ? [listing.reason] : []));
    const [first] = found;
    const grave = refused.find((error) => first === undefined || !(error instanceof GatewayError) || error.code !== "engine_unavailable");
    if (first === undefined || grave !== undefined) throw grave;
    for (const other of found) assertSame(first, other);
    this.#served = first;
    return first;
  }

  async #listing(server: RemoteServer, signal?: AbortSignal): Promise<Listed> {
    const { data } = await server.json({ path: "/v1/models", answer: listed, signal, timeoutMs: probeTimeoutMs });
    const wanted = this.#settings.model;
    const model = wanted === undefined ? data[0] : data.find(({ id }) => id === wanted);
    if (model !== undefined) return model;
    const names = data.slice(0, shownModels).map(({ id }) => quoted(id, shownName));
    const all = names.join(", ") || "none";
    throw new GatewayError(
      "configuration",
      `The server at ${server.name} serves no model ${wanted ?? ""}; it has: ${all}. Set the engine's model.`,
    );
  }

  async #probe(server: RemoteServer): Promise<void> {
    await server.text({ path: "/health", timeoutMs: probeTimeoutMs });
    if (this.#served !== undefined) assertSame(this.#served, { model: await this.#listing(server), by: server });
  }
}

/**
 * As it is served, and its weights, where those have a name of their own: other weights may be served under the same name. They may lie elsewhere on
 * another machine: the last part of their path counts.
 */
function nameOf({ id, root }: Listed): string {
  const weights = (root ?? id).split("/").at(-1);
  return weights === id.split("/").at(-1) ? id : `${id} (${weights})`;
}

/** Throws "configuration". */
function assertSame(one: { model: Listed; by: RemoteServer }, other: { model: Listed; by: RemoteServer }): void {
  const [a, b] = [one, other].map(({ model }) => `${quoted(nameOf(model), shownName)}, ${model.max_model_len} tokens`);
  if (a === b) return;
  const message = `The servers at ${one.by.name} and ${other.by.name} serve different models: ${a}, and ${b}. Replicas must be equal; name them as two engines.`;
  throw new GatewayError("configuration", message);
}
