/** @module A lease of an engine, which policies hold as the engine itself. */
import { Lease, type LeaseOptions } from "../async/lease.ts";
import type { Conversation, Tool } from "../types/conversation.ts";
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
} from "./engine.ts";

export type EngineLeaseOptions = Omit<LeaseOptions<RunningEngine>, "noun">;

/** What policies hold of an engine, the same before and after it is closed. */
export class EngineLease implements RunningEngine {
  readonly #lease: Lease<RunningEngine>;

  constructor(options: EngineLeaseOptions) {
    this.#lease = new Lease({ ...options, noun: "engine" });
  }

  /** It is needed, and stays until it is released. */
  keep(): void {
    this.#lease.keep();
  }

  /** It is not needed any more. */
  release(): void {
    this.#lease.release();
  }

  get isRunning(): boolean {
    return this.#lease.running !== undefined;
  }

  /** The engine itself, opened where it does not run. Throws what opening it throws; the next call tries again. */
  opened(): Promise<RunningEngine> {
    return this.#lease.opened();
  }

  info(signal?: AbortSignal): Promise<EngineInfo> {
    return this.#lease.call(signal, (engine) => engine.info(signal));
  }

  tokenize(texts: readonly string[], signal?: AbortSignal): Promise<Token[][]> {
    return this.#lease.call(signal, (engine) => engine.tokenize(texts, signal));
  }

  describe(tokens: readonly Token[], signal?: AbortSignal): Promise<TokenText[]> {
    return this.#lease.call(signal, (engine) => engine.describe(tokens, signal));
  }

  detokenize(tokens: readonly Token[], signal?: AbortSignal): Promise<string> {
    return this.#lease.call(signal, (engine) => engine.detokenize(tokens, signal));
  }

  textPrompt(text: string, signal?: AbortSignal, special?: boolean): Promise<Prompt> {
    return this.#lease.call(signal, (engine) => engine.textPrompt(text, signal, special));
  }

  chatPrompt(
    messages: Conversation,
    signal?: AbortSignal,
    tools?: readonly Tool[],
    variables?: TemplateVariables,
  ): Promise<Prompt> {
    return this.#lease.call(signal, (engine) => engine.chatPrompt(messages, signal, tools, variables));
  }

  sample(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
    return this.#lease.stream(signal, (engine) => engine.sample(prompt, request, signal));
  }

  score(
    prompt: Prompt,
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
    signal?: AbortSignal,
    topLogprobs?: number,
  ): AsyncGenerator<ScoreEvent> {
    return this.#lease.stream(signal, (engine) => engine.score(prompt, completions, signal, topLogprobs));
  }

  async state(): Promise<EngineState> {
    return (await this.#lease.running?.state()) ?? { status: "starting" };
  }

  /** For good. */
  close(): Promise<void> {
    return this.#lease.close();
  }
}
