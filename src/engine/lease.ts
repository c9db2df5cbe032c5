/**
 * @module A lease of an engine: opened when it is needed, closed when nobody needs it any more and its last call has
 * ended.
 */
import { untilAborted } from "../async/until-aborted.ts";
import type { Conversation, Tool } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
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

export interface EngineLeaseOptions {
  /** The engine itself, where nothing has to be started. */
  readonly open: () => RunningEngine | Promise<RunningEngine>;
  /**
   * An engine that is not needed stays for so long after its last call: a request makes several, with pauses between
   * them.
   */
  readonly lingerMs: number;
  readonly log: (line: string) => void;
}

/**
 * What policies hold of an engine, the same before and after it is closed. Who still holds it when it is no longer
 * needed, a request that began under an older set of policies, goes on with it; where it has been closed meanwhile, the
 * call opens it once more.
 */
export class EngineLease implements RunningEngine {
  readonly #options: EngineLeaseOptions;
  #isNeeded = true;
  #isShut = false;
  /** Calls under way. */
  #calls = 0;
  /** While it is opened, and from then on. */
  #opened: RunningEngine | Promise<RunningEngine> | undefined;
  #running: RunningEngine | undefined;
  /** The end of the engine before, until it has come: two at once might not fit into memory. */
  #ending: Promise<void> | undefined;
  #lingering: NodeJS.Timeout | undefined;

  constructor(options: EngineLeaseOptions) {
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

  /** The engine itself, opened where it does not run. Throws what opening it throws; the next call tries again. */
  async opened(): Promise<RunningEngine> {
    if (this.#isShut) throw new GatewayError("engine_unavailable", "The engine is shut down.");
    return this.#opened ?? this.#open();
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

  textPrompt(text: string, signal?: AbortSignal, special?: boolean): Promise<Prompt> {
    return this.#call(signal, (engine) => engine.textPrompt(text, signal, special));
  }

  chatPrompt(
    messages: Conversation,
    signal?: AbortSignal,
    tools?: readonly Tool[],
    variables?: TemplateVariables,
  ): Promise<Prompt> {
    return this.#call(signal, (engine) => engine.chatPrompt(messages, signal, tools, variables));
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

  async #call<Result>(
    signal: AbortSignal | undefined,
    work: (engine: RunningEngine) => Promise<Result>,
  ): Promise<Result> {
    const leave = this.#enter();
    try {
      return await work(await this.#at(signal));
    } finally {
      leave();
    }
  }

  async *#stream<Event>(
    signal: AbortSignal | undefined,
    work: (engine: RunningEngine) => AsyncIterable<Event>,
  ): AsyncGenerator<Event> {
    const leave = this.#enter();
    try {
      yield* work(await this.#at(signal));
    } finally {
      leave();
    }
  }

  /** One that runs is not waited for: a request makes several calls, each of which would listen to its signal. */
  #at(signal: AbortSignal | undefined): RunningEngine | Promise<RunningEngine> {
    return this.#running !== undefined && !signal?.aborted ? this.#running : untilAborted(this.opened(), signal);
  }

  #enter(): () => void {
    this.#calls += 1;
    clearTimeout(this.#lingering);
    return () => {
      this.#calls -= 1;
      this.#endWhenIdle();
    };
  }

  #open(): RunningEngine | Promise<RunningEngine> {
    const opened = this.#ending === undefined ? this.#options.open() : this.#ending.then(() => this.#options.open());
    this.#opened = opened;
    if (!(opened instanceof Promise)) {
      this.#running = opened;
      return opened;
    }
    opened.then(
      (engine) => {
        if (this.#opened === opened) this.#running = engine;
      },
      () => {
        if (this.#opened === opened) this.#opened = undefined;
      },
    );
    return opened;
  }

  #endWhenIdle(): void {
    const { lingerMs, log } = this.#options;
    clearTimeout(this.#lingering);
    if (this.#isNeeded || this.#calls > 0 || this.#opened === undefined) return;
    this.#lingering = setTimeout(() => {
      log("no policy needs it any more; closing it");
      void this.#end();
    }, lingerMs).unref();
  }

  /** Never throws. */
  #end(): Promise<void> {
    const opened = this.#opened;
    clearTimeout(this.#lingering);
    this.#opened = undefined;
    this.#running = undefined;
    if (opened === undefined) return this.#ending ?? Promise.resolve();
    const ending = this.#endOf(opened, this.#ending).finally(() => {
      if (this.#ending === ending) this.#ending = undefined;
    });
    this.#ending = ending;
    return ending;
  }

  async #endOf(opened: RunningEngine | Promise<RunningEngine>, before: Promise<void> | undefined): Promise<void> {
    try {
      await before;
      const engine = await Promise.resolve(opened).catch(() => undefined); // one that could not be opened has no end
      await engine?.close();
    } catch (error) {
      this.#options.log(`it could not be closed: ${error}`);
    }
  }
}
