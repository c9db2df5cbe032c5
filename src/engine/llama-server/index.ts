/**
 * @module llama.cpp's own server as an engine, by its native calls. `settings.model` is only needed where the server
 * was started with LoRA adapters (`--lora`): the number or file name of the one to wear; any other name wears none.
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
import { type LlamaServerModel, properties, readModel } from "./llama-server-model.ts";
import { type Rescore, sampleTogether } from "./llama-server-sampling.ts";
import { force, score } from "./llama-server-scoring.ts";
import { splitBy, tokenize } from "./llama-server-tokenizer.ts";

/** The server answers it at once, however busy it is. */
const probeTimeoutMs = 5_000;

export function openLlamaServer(settings: RemoteSettings, world: RemoteWorld): RunningEngine {
  return new LlamaServer(settings, world);
}

class LlamaServer implements RunningEngine {
  readonly #settings: RemoteSettings;
  readonly #world: RemoteWorld;
  readonly #replicas: Replicas;
  /** Not a promise: what one request waits for is not awaited by another. */
  #model: LlamaServerModel | undefined;
  #path: string | undefined;

  constructor(settings: RemoteSettings, world: RemoteWorld) {
    this.#settings = settings;
    this.#world = world;
    this.#replicas = new Replicas(settings, world, (server) => this.#probe(server));
  }

  async info(signal?: AbortSignal): Promise<EngineInfo> {
    return (await this.#open(signal)).info;
  }

  async tokenize(texts: readonly string[], signal?: AbortSignal): Promise<Token[][]> {
    if (texts.length === 0) return [];
    const { vocabulary, space } = await this.#open(signal);
    // Plain text never makes the end token. After a line break, a tokenizer that puts a space before a text has put it
    // there.
    const separator = vocabulary.endOfSequence;
    const content = texts.flatMap((text) => [space.length > 0 ? `\n${text}` : text, separator]);
    const all = splitBy(await tokenize(this.#replicas, content, false, signal), separator, texts.length);
    return all.map((tokens) => tokens.slice(space.length));
  }

  async describe(tokens: readonly Token[], signal?: AbortSignal): Promise<TokenText[]> {
    const { vocabulary } = await this.#open(signal);
    return tokens.map((token) => vocabulary.describe(token));
  }

  async detokenize(tokens: readonly Token[], signal?: AbortSignal): Promise<string> {
    return (await this.#open(signal)).vocabulary.textOf(tokens);
  }

  async textPrompt(text: string, signal?: AbortSignal, special = false): Promise<Prompt> {
    const { vocabulary, opening } = await this.#open(signal);
    const own = await tokenize(this.#replicas, text, special, signal);
    const first = own[0] === opening[0] ? [] : opening;
    return { tokens: [...first, ...own], end: vocabulary.endOfSequence, opening: first.length };
  }

  async chatPrompt(
    messages: Conversation,
    signal?: AbortSignal,
    tools?: readonly Tool[],
    variables?: TemplateVariables,
  ): Promise<Prompt> {
    const { template, opening } = await this.#open(signal);
    if (template === null)
      throw new GatewayError(
        "invalid_request",
        "llama-server's model has no chat template: use the prompt format hh-rlhf or synthetic-gpt.",
        {
          param: "prompt",
        },
      );
    const rendering = template.render(messages, tools, variables);
    const tokens =
      rendering.type === "text"
        ? await tokenize(this.#replicas, rendering.text, true, signal)
        : await tokenize(this.#replicas, rendering.runs, false, signal);
    return { tokens: tokens[0] === opening[0] ? tokens : [...opening, ...tokens], end: template.end };
  }

  async *sample(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
    const model = this.#servedFor(prompt, await this.#open(signal));
    const rescore: Rescore = async (text) => {
      const [tokens = []] = await this.tokenize([text], signal);
      if (request.topLogprobs === undefined) return { tokens };
      return { tokens, ...(await force(this.#replicas, model, prompt.tokens, tokens, request.topLogprobs, signal)) };
    };
    for (let first = 0; first < request.seeds.length; first += model.slots) {
      const part = { ...request, seeds: request.seeds.slice(first, first + model.slots) };
      for await (const event of sampleTogether(this.#replicas, model, prompt, part, rescore, signal)) {
        if (event.type === "prefill" || event.type === "prompt") {
          if (first === 0) yield ownPart(event, prompt);
        } else yield { ...event, index: first + event.index };
      }
    }
  }

  async *score(
    prompt: Prompt,
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
    signal?: AbortSignal,
    topLogprobs?: number,
  ): AsyncGenerator<ScoreEvent> {
    const model = this.#servedFor(prompt, await this.#open(signal));
    for await (const event of score(this.#replicas, model, prompt.tokens, completions, signal, topLogprobs))
      yield ownPart(event, prompt);
  }

  state(): Promise<EngineState> {
    return this.#replicas.state();
  }

  async close(): Promise<void> {}

  async #open(signal: AbortSignal | undefined): Promise<LlamaServerModel> {
    this.#model ??= await readModel(this.#replicas, this.#settings, this.#world, signal);
    return this.#model;
  }

  /** Its cache knows no tenants: where they are to be kept apart, nothing is taken from it. */
  #servedFor({ tenant }: Prompt, model: LlamaServerModel): LlamaServerModel {
    return tenant === undefined || this.#settings.prefixCache === "shared" ? model : { ...model, caches: false };
  }

  /** Each replica must run the same file. */
  async #probe(server: RemoteServer): Promise<void> {
    const { model_path: path } = await server.json({ path: "/props", answer: properties, timeoutMs: probeTimeoutMs });
    this.#path ??= path;
    if (path !== this.#path)
      throw new GatewayError(
        "configuration",
        `The server at ${server.name} runs ${quoted(path)}, but another replica ${quoted(this.#path)}. Replicas must be equal.`,
      );
  }
}

/** What a cache for all held of a prompt may be another tenant's words: how much it was is not told. */
function ownPart<Event extends SampleEvent | ScoreEvent>(event: Event, { tenant }: Prompt): Event {
  return event.type === "prompt" && tenant !== undefined ? { ...event, cached: 0 } : event;
}
