/** @module The embedded engine: llama.cpp in a process of its own, which is started again whenever it dies. */
import { EventQueue } from "../../async/event-queue.ts";
import type { Conversation, Tool } from "../../types/conversation.ts";
import type {
  EngineInfo,
  EngineLoad,
  Prompt,
  RunningEngine,
  SampleEvent,
  SampleRequest,
  ScoreEvent,
  TemplateVariables,
  Token,
  TokenText,
} from "../engine.ts";
import type { Call, Result } from "./child-messages.ts";
import { type LlamaState, startSupervised, stateOf } from "./lifecycle.ts";
import type { Completions } from "./process-calls.ts";
import type { LlamaLifecycle, Supervisor, SupervisorOptions } from "./supervisor.ts";

export type LlamaEngineOptions = SupervisorOptions;

export class LlamaEngine implements RunningEngine {
  readonly modelPath: string;
  readonly #supervisor: Supervisor;

  private constructor(modelPath: string, supervisor: Supervisor) {
    this.modelPath = modelPath;
    this.#supervisor = supervisor;
  }

  /** Loads the model. Throws "model_unavailable" when llama.cpp cannot load it, "cancelled" when the signal fires. */
  static async start(options: LlamaEngineOptions, signal?: AbortSignal): Promise<LlamaEngine> {
    return new LlamaEngine(options.modelPath, await startSupervised(options, signal));
  }

  get lifecycle(): LlamaLifecycle {
    return this.#supervisor.lifecycle;
  }

  /** With the engine's own account of its work. */
  state(): Promise<LlamaState> {
    return stateOf(this.#supervisor);
  }

  info(signal?: AbortSignal): Promise<EngineInfo> {
    return this.#supervisor.whenReady(signal);
  }

  async tokenize(texts: readonly string[], signal?: AbortSignal): Promise<Token[][]> {
    return texts.length === 0 ? [] : ((await this.#call({ type: "tokenize", texts }, signal)) as Token[][]);
  }

  async describe(tokens: readonly Token[], signal?: AbortSignal): Promise<TokenText[]> {
    return tokens.length === 0 ? [] : ((await this.#call({ type: "describe", tokens }, signal)) as TokenText[]);
  }

  async detokenize(tokens: readonly Token[], signal?: AbortSignal): Promise<string> {
    return tokens.length === 0 ? "" : ((await this.#call({ type: "detokenize", tokens }, signal)) as string);
  }

  async textPrompt(text: string, signal?: AbortSignal, special = false): Promise<Prompt> {
    return (await this.#call({ type: "text-prompt", text, special }, signal)) as Prompt;
  }

  async chatPrompt(
    messages: Conversation,
    signal?: AbortSignal,
    tools: readonly Tool[] = [],
    variables?: TemplateVariables,
  ): Promise<Prompt> {
    return (await this.#call({ type: "chat-prompt", messages, tools, variables }, signal)) as Prompt;
  }

  sample(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
    return this.#stream({ type: "sample", prompt, request }, [], signal) as AsyncGenerator<SampleEvent>;
  }

  score(
    prompt: Prompt,
    completions: Completions,
    signal?: AbortSignal,
    topLogprobs?: number,
  ): AsyncGenerator<ScoreEvent> {
    return this.#stream({ type: "score", prompt, topLogprobs }, completions, signal) as AsyncGenerator<ScoreEvent>;
  }

  /** Tasks and sequences in use in the engine's process. */
  load(signal?: AbortSignal): Promise<EngineLoad> {
    return this.#supervisor.load(signal);
  }

  /** Resolves when the engine's process has ended: by itself, or killed where it hangs. */
  close(): Promise<void> {
    return this.#supervisor.close();
  }

  /** Calls with one signal are one request's. */
  #call(call: Call, signal: AbortSignal | undefined): Promise<Result> {
    return this.#supervisor.call(call, signal, { signal });
  }

  async *#stream(
    call: Call,
    completions: Completions,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<SampleEvent | ScoreEvent> {
    const leave = new AbortController();
    const events = new EventQueue<SampleEvent | ScoreEvent>();
    const either = AbortSignal.any([leave.signal, ...(signal ? [signal] : [])]);
    let isOver = false;
    const over = (tell: () => void): void => {
      isOver = true;
      tell();
    };
    this.#supervisor.call(call, signal, { signal: either, events, completions }).then(
      () => over(() => events.end()),
      (error: unknown) => over(() => events.fail(error)),
    );
    try {
      yield* events;
    } finally {
      if (!isOver) leave.abort();
    }
  }
}
