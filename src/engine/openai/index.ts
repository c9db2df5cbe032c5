/**
 * @module Any service that speaks OpenAI's chat completions, and tells nothing of the tokens of given text: for plain
 * routes and judges. Tokens are estimates, good for counting until the service has counted. What is not part
 * of that API does not apply where a policy says it, and is refused where a request does, unless the service takes it.
 */
import { describedAnswer, sampledAnswer } from "../../client/answer-size.ts";
import { ServerError } from "../../client/server-error.ts";
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
  chatEvent,
  type MessagesPrompt,
  OpenAiSample,
  type Piece,
  type Replaceable,
  replaceableFields,
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

/** What the service is asked, however often. */
interface Asked {
  readonly prompt: MessagesPrompt;
  readonly request: SampleRequest;
  /** The service has said of each answer why it ended. */
  readonly isWhole: () => boolean;
  readonly signal: AbortSignal | undefined;
}

class OpenAi implements RunningEngine {
  readonly #model: string;
  /** Fields beside OpenAI's. */
  readonly #takes: ReadonlySet<string>;
  readonly #info: EngineInfo;
  readonly #replicas: Replicas;
  /** Fields that the service has refused. */
  readonly #refused = new Set<Replaceable>();

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
    // Before the call goes out: what cannot be asked is refused.
    const body = this.#body(prompt, request);
    yield { type: "prefill", fed: 0 };
    let hasBegun = false;
    const isWhole = (): boolean => samples.every(({ hasEnded }) => hasEnded);
    for await (const event of this.#events({ prompt, request, isWhole, signal }, body)) {
      if (!hasBegun) yield { type: "prompt", cached: 0 };
      hasBegun = true;
      for (const { index, ...news } of event.choices) {
        yield* told(index, samples[index]?.take(news), estimates[index]);
      }
      const { usage } = event;
      // Of several answers the service tells only their sum.
      const completion = samples.length === 1 ? (usage?.completion_tokens ?? null) : null;
      const prompt = usage?.prompt_tokens ?? null;
      const thought = samples.length === 1 ? (usage?.completion_tokens_details?.reasoning_tokens ?? null) : null;
      if (usage) for (const sample of samples) sample.counted = { prompt, completion, thought };
    }
    for (const [index, sample] of samples.entries()) {
      yield* told(index, sample.rest(), estimates[index]);
      yield { type: "done", index, sample: sample.end((text) => estimatedTokens(countTokens(text))) };
    }
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

  /** Asked again where the service refuses a field that can be said otherwise, which is remembered. */
  async *#events(asked: Asked, first: object): AsyncGenerator<ChatEvent> {
    for (let body = first; ; body = this.#body(asked.prompt, asked.request)) {
      let hasBegun = false;
      try {
        if (asked.request.whole) yield await this.#whole(asked, body);
        else
          for await (const event of this.#pieces(asked, body)) {
            hasBegun = true;
            yield event;
          }
        return;
      } catch (error) {
        if (hasBegun || !this.#learns(error)) throw error;
      }
    }
  }

  #whole({ request, signal }: Asked, body: object): Promise<ChatEvent> {
    const size = describedAnswer([sampledTokens(request)], request.topLogprobs);
    return this.#replicas.json({ path, body, answer: chatEvent, size, signal });
  }

  #pieces({ request, isWhole, signal }: Asked, body: object): AsyncIterable<ChatEvent> {
    const counting = this.#refused.has("stream_options") ? {} : { stream_options: { include_usage: true } };
    return this.#replicas.events({
      path,
      body: { ...body, stream: true, ...counting },
      answer: chatEvent,
      size: sampledAnswer(sampledTokens(request), request.topLogprobs ?? 0),
      endsPlainly: isWhole,
      signal,
    });
  }

  #body(prompt: MessagesPrompt, request: SampleRequest): object {
    const room = this.#info.contextSize - prompt.tokens.length;
    return requestBody({ model: this.#model, takes: this.#takes, refused: this.#refused, room }, prompt, request);
  }

  /** Whether the service has refused a field, by its name, that has not been said otherwise yet. */
  #learns(error: unknown): boolean {
    if (!(error instanceof ServerError) || error.code !== "invalid_request") return false;
    const [refused] =
      Object.entries(replaceableFields).find(
        ([field, word]) => !this.#refused.has(field as Replaceable) && error.says(word),
      ) ?? [];
    if (refused !== undefined) this.#refused.add(refused as Replaceable);
    return refused !== undefined;
  }
}

function* told(index: number, piece: Piece | null | undefined, estimate: Estimate | undefined): Generator<SampleEvent> {
  if (!piece) return;
  const { thought, ...text } = piece;
  const tokens = (added: string): number => estimate?.add(added) ?? 0;
  if (thought !== "") yield { type: "thought", index, text: thought, tokens: tokens(thought) };
  if (text.text !== "" || (text.details ?? []).length > 0)
    yield { type: "text", index, ...text, tokens: tokens(text.text) };
}

/** At most, of all answers. */
function sampledTokens({ seeds, maxTokens }: SampleRequest): number {
  return seeds.length * maxTokens;
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
