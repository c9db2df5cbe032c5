/**
 * @module Any service that speaks OpenAI's chat completions, and tells nothing of the tokens of given text: for plain
 * routes and judges. Tokens are estimates, good for counting until the service has counted. What is not part
 * of that API does not apply where a policy says it, and is refused where a request does, unless the service takes it.
 */
import { describedAnswer, sampledAnswer } from "../../client/answer-size.ts";
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
import { lackedBy } from "../taken-fields.ts";
import { countTokens, Estimate, estimatedTokens, tokenBytes } from "./estimated-tokens.ts";
import {
  type ChatEvent,
  chatAnswer,
  chatChunk,
  type MessagesPrompt,
  OpenAiSample,
  requestBody,
} from "./openai-sampling.ts";

/** What most services hold by now; who knows better says so in the settings. */
const usualContextSize = 128_000;
/** A turn's own tokens, around its text. */
const turnTokens = 4;
const probeTimeoutMs = 5_000;
const path = "/v1/chat/completions";

/** Throws "configuration" where the settings name no model. */
export function openOpenAi(settings: RemoteSettings, world: RemoteWorld): RunningEngine {
  return new OpenAi(settings, world);
}

class OpenAi implements RunningEngine {
  readonly #model: string;
  /** Fields beside OpenAI's. */
  readonly #takes: ReadonlySet<string>;
  readonly #info: EngineInfo;
  readonly #replicas: Replicas;

  constructor(settings: RemoteSettings, world: RemoteWorld) {
    if (settings.model === undefined)
      throw new GatewayError(
        "configuration",
        "An engine of type openai needs a model: the name that the service knows it by.",
      );
    this.#model = settings.model;
    this.#takes = new Set(settings.takes);
    this.#replicas = new Replicas(settings, world, probe);
    this.#info = {
      model: `${settings.model} of ${this.#replicas.servers[0]?.name}`,
      contextSize: settings.contextSize ?? usualContextSize,
      longerContext: "Where the server's model takes more, say so in this engine's context_size.",
      mostCharacters: (settings.contextSize ?? usualContextSize) * tokenBytes,
      capabilities: {
        chat: true,
        text: false,
        score: false,
        grammar: false,
        tools: null,
        lacks: lackedBy(this.#takes),
      },
    };
  }

  async info(): Promise<EngineInfo> {
    return this.#info;
  }

  async tokenize(texts: readonly string[]): Promise<Token[][]> {
    return texts.map((text) => estimatedTokens(countTokens(text)));
  }

  async describe(): Promise<TokenText[]> {
    throw messagesOnly();
  }

  async detokenize(): Promise<string> {
    throw messagesOnly();
  }

  async textPrompt(): Promise<Prompt> {
    throw messagesOnly();
  }

  async chatPrompt(
    messages: Conversation,
    _signal?: AbortSignal,
    _tools?: readonly Tool[],
    variables?: TemplateVariables,
  ): Promise<Prompt> {
    const tokens = messages.reduce((sum, { content }) => sum + turnTokens + countTokens(content), turnTokens);
    const prompt: MessagesPrompt = { tokens: estimatedTokens(tokens), end: 0, messages, variables };
    return prompt;
  }

  async *sample(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
    if (!isMessages(prompt)) throw messagesOnly();
    const samples = request.seeds.map(() => new OpenAiSample(request));
    const estimates = request.seeds.map(() => new Estimate());
    const room = this.#info.contextSize - prompt.tokens.length;
    const body = requestBody({ model: this.#model, takes: this.#takes, room }, prompt, request);
    yield { type: "prefill", fed: 0 };
    let hasBegun = false;
    for await (const event of this.#events(body, request, signal)) {
      if (!hasBegun) yield { type: "prompt", cached: 0 };
      hasBegun = true;
      for (const { index, ...news } of event.choices) {
        const piece = samples[index]?.take(news);
        if (piece) yield { type: "text", index, ...piece, tokens: estimates[index]?.add(piece.text) ?? 0 };
      }
      const { usage } = event;
      // Of several answers the service tells only their sum.
      const completion = samples.length === 1 ? (usage?.completion_tokens ?? null) : null;
      if (usage) for (const sample of samples) sample.counted = { prompt: usage.prompt_tokens ?? null, completion };
    }
    for (const [index, sample] of samples.entries())
      yield { type: "done", index, sample: sample.end((text) => estimatedTokens(countTokens(text))) };
  }

  score(): AsyncIterable<ScoreEvent> {
    throw new GatewayError(
      "unsupported_parameter",
      "This route's engine tells no log-probabilities of given text: it cannot score.",
    );
  }

  state(): Promise<EngineState> {
    return this.#replicas.state();
  }

  async close(): Promise<void> {}

  async *#events(
    body: object,
    { whole, seeds, maxTokens, topLogprobs }: SampleRequest,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<ChatEvent> {
    const tokens = seeds.length * maxTokens;
    if (whole)
      yield await this.#replicas.json({
        path,
        body,
        answer: chatAnswer,
        size: describedAnswer([tokens], topLogprobs),
        signal,
      });
    else
      yield* this.#replicas.events({
        path,
        body: { ...body, stream: true, stream_options: { include_usage: true } },
        answer: chatChunk,
        size: sampledAnswer(tokens, topLogprobs ?? 0),
        signal,
      });
  }
}

async function probe(server: RemoteServer): Promise<void> {
  await server.text({ path: "/v1/models", timeoutMs: probeTimeoutMs });
}

function isMessages(prompt: Prompt): prompt is MessagesPrompt {
  return "messages" in prompt;
}

function messagesOnly(): GatewayError {
  return new GatewayError(
    "unsupported_parameter",
    "This route's engine takes chat messages only: it knows no raw text and no token ids.",
  );
}
