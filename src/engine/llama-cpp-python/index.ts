/**
 * @module llama-cpp-python's server as an engine, for the paper's text formats: it renders no chat template without
 * answering. Completions are scored by having the server echo them, which needs `--logits_all true`, and a model whose
 * tokenizer puts BOS first: without one, the server (0.3.36) pairs each token with the log-probabilities of the next.
 */
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
import { type LlamaCppPythonModel, readModel } from "./llama-cpp-python-model.ts";
import { sample } from "./llama-cpp-python-sampling.ts";
import { score } from "./llama-cpp-python-scoring.ts";
import { guardText, type TextPrompt, tokenizePlain } from "./llama-cpp-python-tokenizer.ts";
import { OneCallServer } from "./one-call-server.ts";

export function openLlamaCppPython(settings: RemoteSettings, world: RemoteWorld): RunningEngine {
  return new LlamaCppPython(settings, world);
}

class LlamaCppPython implements RunningEngine {
  readonly #settings: RemoteSettings;
  readonly #world: RemoteWorld;
  readonly #server: OneCallServer;
  #model: LlamaCppPythonModel | undefined;

  constructor(settings: RemoteSettings, world: RemoteWorld) {
    this.#settings = settings;
    this.#world = world;
    this.#server = new OneCallServer(settings, world);
  }

  async info(signal?: AbortSignal): Promise<EngineInfo> {
    return (await this.#open(signal)).info;
  }

  async tokenize(texts: readonly string[], signal?: AbortSignal): Promise<Token[][]> {
    const { opening } = await this.#open(signal);
    const tokenized: Token[][] = [];
    for (const text of texts) tokenized.push(await tokenizePlain(this.#server, opening.length, text, signal));
    return tokenized;
  }

  async describe(): Promise<TokenText[]> {
    throw new GatewayError("unsupported_parameter", "llama-cpp-python's server does not tell what single tokens are.");
  }

  async detokenize(tokens: readonly Token[], signal?: AbortSignal): Promise<string> {
    return this.#server.detokenize(tokens, signal);
  }

  async textPrompt(text: string, signal?: AbortSignal, special = false): Promise<TextPrompt> {
    const { end } = await this.#open(signal);
    const given = special ? text : await guardText(this.#server, text, signal);
    return { tokens: await this.#server.tokenize(given, signal), end, text: given };
  }

  async chatPrompt(): Promise<Prompt> {
    throw new GatewayError(
      "invalid_request",
      "llama-cpp-python's server renders no chat template: use the prompt format hh-rlhf or synthetic-gpt.",
      {
        param: "prompt",
      },
    );
  }

  async *sample(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
    yield* sample(this.#server, await this.#open(signal), prompt, request, signal);
  }

  async *score(
    prompt: Prompt,
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
    signal?: AbortSignal,
    topLogprobs?: number,
  ): AsyncGenerator<ScoreEvent> {
    yield* score(this.#server, await this.#open(signal), prompt, completions, signal, topLogprobs);
  }

  state(): Promise<EngineState> {
    return this.#server.state();
  }

  async close(): Promise<void> {}

  async #open(signal: AbortSignal | undefined): Promise<LlamaCppPythonModel> {
    this.#model ??= await readModel(this.#server, this.#settings, this.#world, signal);
    return this.#model;
  }
}
