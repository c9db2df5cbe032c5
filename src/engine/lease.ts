/** @module An engine with an owner: begun when it is needed, closed when nobody needs it any more and its last call has ended. */

import { untilAborted } from "../async/until-aborted.ts";
import type { Conversation, Tool } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import type { EngineInfo, EngineState, Prompt, RunningEngine, SampleEvent, SampleRequest, ScoreEvent, Token, TokenText } from "./engine.ts";

export interface HeldEngineOptions {
  /** Begins the engine. */
  readonly begin: () => Promise<RunningEngine>;
  /** An engine that is not needed stays for so long after its last call: a request makes several, with pauses between them. */
  readonly lingerMs: number;
  readonly log: (line: string) => void;
}

/**
 * What policies hold of an engine, the same before and after it is closed. Who still holds it when it is no longer needed, a request that began under
 * an older set of policies, goes on with it; where it has been closed meanwhile, the call begins it once more.
 */
export class HeldEngine implements RunningEngine {
  readonly #options: HeldEngineOptions;
  #isNeeded = true;
  #isShut = false;
  /** Calls under way. */
  #calls = 0;
  #begun: Promise<RunningEngine> | undefined;
  #running: RunningEngine | undefined;
  /** The end of the engine before: two at once might not fit into memory. */
  #ended: Promise<void> = Promise.resolve();
  #lingering: NodeJS.Timeout | undefined;

  constructor(options: HeldEngineOptions) {
    this.#options = options;
  }

  /** It is needed, and stays until it is released. */
  keep(): void {
    this.#isNeeded = true;
    clearTimeout(this.#lingering);
  }

  /** It is not needed any more. */
  release(): void {
    this.#isNeeded = false;
    this.#endWhenIdle();
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** The engine itself, begun where it does not run. Throws what beginning it throws; the next call tries again. */
  begun(): Promise<RunningEngine> {
    if (this.#isShut) return Promise.reject(new GatewayError("engine_unavailable", "The engine is shut down."));
    return this.#begun ?? this.#begin();
  }

  info(signal?: AbortSignal): Promise<EngineInfo> {
    return this.#call(signal, (engine) => engine.info(signal));
  }

  tokenize(texts: readonly string[], signal?: AbortSignal): Promise<Token[][]> {
    return this.#call(signal, (engine) => engine.tokenize(texts, signal));
  }

  describe(tokens: readonly Token[], signal?: AbortSignal): Promise<TokenText[]> {
    return this.#call(signal, (engine) => engine.describe(tokens, signal));
  }

  detokenize(tokens: readonly Token[], signal?: AbortSignal): Promise<string> {
    return this.#call(signal, (engine) => engine.detokenize(tokens, signal));
  }

  textPrompt(text: string, signal?: AbortSignal): Promise<Prompt> {
    return this.#call(signal, (engine) => engine.textPrompt(text, signal));
  }

  chatPrompt(messages: Conversation, signal?: AbortSignal, tools?: readonly Tool[]): Promise<Prompt> {
    return this.#call(signal, (engine) => engine.chatPrompt(messages, signal, tools));
  }

  sample(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
    return this.#stream(signal, (engine) => engine.sample(prompt, request, signal));
  }

  score(
    prompt: Prompt,
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
    signal?: AbortSignal,
    topLogprobs?: number,
  ): AsyncGenerator<ScoreEvent> {
    return this.#stream(signal, (engine) => engine.score(prompt, completions, signal, topLogprobs));
  }

  async state(): Promise<EngineState> {
    return (await this.#running?.state()) ?? { status: "starting" };
  }

  /** For good. */
  async close(): Promise<void> {
    this.#isShut = true;
    await this.#end();
  }

  async #call<Result>(signal: AbortSignal | undefined, work: (engine: RunningEngine) => Promise<Result>): Promise<Result> {
    const leave = this.#enter();
    try {
      return await work(await this.#at(signal));
    } finally {
      leave();
    }
  }

  async *#stream<Event>(signal: AbortSignal | undefined, work: (engine: RunningEngine) => AsyncIterable<Event>): AsyncGenerator<Event> {
    const leave = this.#enter();
    try {
      yield* work(await this.#at(signal));
    } finally {
      leave();
    }
  }

  /** One that runs is not waited for: a request makes several calls, each of which would listen to its signal. */
  #at(signal: AbortSignal | undefined): RunningEngine | Promise<RunningEngine> {
    return this.#running !== undefined && !signal?.aborted ? this.#running : untilAborted(this.begun(), signal);
  }

  #enter(): () => void {
    this.#calls += 1;
    clearTimeout(this.#lingering);
    return () => {
      this.#calls -= 1;
      this.#endWhenIdle();
    };
  }

  #begin(): Promise<RunningEngine> {
    const begun = this.#ended.then(() => this.#options.begin());
    this.#begun = begun;
    begun.then(
      (engine) => {
        if (this.#begun === begun) this.#running = engine;
      },
      () => {
        if (this.#begun === begun) this.#begun = undefined;
      },
    );
    return begun;
  }

  #endWhenIdle(): void {
    const { lingerMs, log } = this.#options;
    clearTimeout(this.#lingering);
    if (this.#isNeeded || this.#calls > 0 || this.#begun === undefined) return;
    this.#lingering = setTimeout(() => {
      log("no policy needs it any more; closing it");
      void this.#end();
    }, lingerMs).unref();
  }

  /** Never throws. */
  #end(): Promise<void> {
    const begun = this.#begun;
    clearTimeout(this.#lingering);
    this.#begun = undefined;
    this.#running = undefined;
    const close = async (): Promise<void> => {
      const engine = await begun?.catch(() => undefined); // one that could not be begun has no end
      await engine?.close();
    };
    this.#ended = this.#ended.then(close).catch((error: unknown) => this.#options.log(`it could not be closed: ${error}`));
    return this.#ended;
  }
}
