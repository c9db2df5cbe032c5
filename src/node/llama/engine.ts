/** @module The embedded engine as the gateway sees it: a child process, started again whenever it dies. */
import { type ChildProcess, fork } from "node:child_process";
import type { EngineInfo, Prompt, RunningEngine, SampleEvent, SampleRequest, ScoreEvent, Token, TokenText } from "../../engine/engine.ts";
import type { Conversation, Tool } from "../../types/conversation.ts";
import { cancelled, GatewayError } from "../../types/error.ts";
import { EventQueue } from "../../types/event-queue.ts";
import type { Cores, Sharer } from "./cores.ts";
import { LastingChange } from "./lasting-change.ts";
import type { EngineSize, NativeOptions } from "./native.ts";
import type { Call, ChildMessage, EngineLoad, Loaded, ParentMessage, Result } from "./protocol.ts";

export interface LlamaEngineOptions extends NativeOptions {
  /** Identifies the weights in policy hashes. */
  readonly model: string;
  readonly log: (line: string) => void;
  /** The compiled child module. */
  readonly childModule?: URL;
  /** A child that answers nothing, or takes longer than this over one step, hangs and is killed. */
  readonly hangMs: number;
  /** Shared with the other engines of this program; absent: there are none. */
  readonly cores?: Cores | undefined;
}

export interface LlamaLifecycle {
  readonly status: "starting" | "ready" | "restarting" | "closed";
  readonly restarts: number;
  /** The child's process id. */
  readonly pid: number | undefined;
  /** What was chosen for this machine, and why. */
  readonly size: EngineSize | undefined;
}

export type LlamaState = Omit<LlamaLifecycle, "status"> & {
  readonly status: LlamaLifecycle["status"] | "unresponsive";
} & Partial<EngineLoad>;

interface Pending {
  readonly type: Call["type"];
  readonly events: EventQueue<SampleEvent | ScoreEvent>;
  /** What the child has steps to do for: samples, or a prompt and completions to score. */
  due: number;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: GatewayError) => void;
}

const longestPauseMs = 30_000;

const heartbeatMs = 1_000;

/** A change of threads that lasts as long is worth a line in the log. */
const lastingMs = 10_000;

/** After so long without an account of its work, a running engine is no longer ready. */
const loadReportMs = 1_000;

export class LlamaEngine implements RunningEngine {
  readonly #options: LlamaEngineOptions;
  readonly #pending = new Map<number, Pending>();
  #child: ChildProcess | undefined;
  #ready: Promise<EngineInfo>;
  #status: LlamaLifecycle["status"] = "starting";
  #nextId = 1;
  /** Deaths in a row of children that had not done any work. */
  #failures = 0;
  #hasWorked = false;
  #restarts = 0;
  #restartTimer: NodeJS.Timeout | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #size: EngineSize | undefined;
  #sharer: Sharer | undefined;
  #isAtWork = false;
  /** Threads that the child was told it may use; undefined: as many as it wants. */
  #allowed: number | undefined;
  readonly #lastingThreads = new LastingChange<number>(lastingMs);

  private constructor(options: LlamaEngineOptions) {
    this.#options = options;
    this.#ready = this.#launch();
  }

  /** Starts the child and loads the model. Throws "model_unavailable" when llama.cpp cannot load it. */
  static async start(options: LlamaEngineOptions): Promise<LlamaEngine> {
    const engine = new LlamaEngine(options);
    try {
      await engine.#ready;
    } catch (error) {
      await engine.close();
      throw new GatewayError("model_unavailable", `The model ${options.modelPath} could not be loaded: ${messageOf(error)}`, {
        cause: error,
      });
    }
    return engine;
  }

  get modelPath(): string {
    return this.#options.modelPath;
  }

  get lifecycle(): LlamaLifecycle {
    return { status: this.#status, restarts: this.#restarts, pid: this.#child?.pid, size: this.#size };
  }

  /** With the engine's own account of its work. */
  async state(): Promise<LlamaState> {
    if (this.lifecycle.status !== "ready") return this.lifecycle;
    try {
      const load = await this.load(AbortSignal.timeout(loadReportMs));
      return { ...this.lifecycle, ...load, threads: this.#isAtWork ? Math.min(load.threads, this.#allowed ?? load.threads) : load.threads };
    } catch {
      return this.lifecycle.status === "ready" ? { ...this.lifecycle, status: "unresponsive" } : this.lifecycle;
    }
  }

  info(signal?: AbortSignal): Promise<EngineInfo> {
    return this.#whenReady(signal);
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

  async textPrompt(text: string, signal?: AbortSignal): Promise<Prompt> {
    return (await this.#call({ type: "text-prompt", text }, signal)) as Prompt;
  }

  async chatPrompt(messages: Conversation, signal?: AbortSignal, tools: readonly Tool[] = []): Promise<Prompt> {
    return (await this.#call({ type: "chat-prompt", messages, tools }, signal)) as Prompt;
  }

  sample(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
    return this.#stream({ type: "sample", prompt, request }, [], signal) as AsyncGenerator<SampleEvent>;
  }

  score(
    prompt: Prompt,
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
    signal?: AbortSignal,
    topLogprobs?: number,
  ): AsyncGenerator<ScoreEvent> {
    return this.#stream({ type: "score", prompt, topLogprobs }, completions, signal) as AsyncGenerator<ScoreEvent>;
  }

  async *#stream(
    call: Call,
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
    signal?: AbortSignal,
  ): AsyncGenerator<SampleEvent | ScoreEvent> {
    const leave = new AbortController();
    const events = new EventQueue<SampleEvent | ScoreEvent>();
    this.#call(call, AbortSignal.any([leave.signal, ...(signal ? [signal] : [])]), events, completions).then(
      () => events.end(),
      (error: unknown) => events.fail(error),
    );
    try {
      yield* events;
    } finally {
      leave.abort();
    }
  }

  /** Tasks and sequences in use in the child. */
  async load(signal?: AbortSignal): Promise<EngineLoad> {
    return (await this.#call({ type: "load-report" }, signal)) as EngineLoad;
  }

  async close(): Promise<void> {
    this.#status = "closed";
    clearTimeout(this.#restartTimer);
    clearInterval(this.#heartbeat);
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    if (child.connected) child.disconnect();
    else child.kill("SIGKILL");
    await exited;
  }

  async #call(
    call: Call,
    signal?: AbortSignal,
    events = new EventQueue<SampleEvent | ScoreEvent>(),
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]> = [],
  ): Promise<Result> {
    await this.#whenReady(signal);
    const result = await this.#send(call, signal, events, completions);
    this.#hasWorked = true;
    return result;
  }

  #send(
    call: Call,
    signal?: AbortSignal,
    events = new EventQueue<SampleEvent | ScoreEvent>(),
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]> = [],
  ): Promise<Result> {
    const child = this.#child;
    if (child === undefined || !child.connected) return Promise.reject(new EngineDied());
    if (signal?.aborted) return Promise.reject(cancelled(signal));
    const id = this.#nextId++;
    const { promise, resolve, reject } = withResolvers<Result>();
    const post = (message: ParentMessage): void => {
      if (!child.connected) reject(new EngineDied());
      else
        child.send(message, (error) => {
          if (error !== null) reject(new EngineDied(error));
        });
    };
    const abort = (): void => {
      if (child.connected) post({ id, abort: true });
      if (signal !== undefined) reject(cancelled(signal));
    };
    const passOn = async (): Promise<void> => {
      for await (const completion of completions) {
        this.#addDue(pending, 1);
        post({ id, completion });
      }
      post({ id, completion: null });
    };
    const pending = { type: call.type, events, resolve, reject, due: 0 };
    this.#pending.set(id, pending);
    if (call.type === "sample" || call.type === "score") this.#addDue(pending, 1);
    signal?.addEventListener("abort", abort, { once: true });
    post({ id, call });
    if (call.type === "score") passOn().catch(reject);
    return promise.finally(() => {
      this.#pending.delete(id);
      this.#share();
      signal?.removeEventListener("abort", abort);
    });
  }

  #addDue(pending: Pending, count: number): void {
    pending.due += count;
    this.#share();
  }

  /** An engine that has nothing to do, or waits for completions to score, leaves the cores to the others. */
  #share(): void {
    const { cores } = this.#options;
    const isAtWork = [...this.#pending.values()].some(({ due }) => due > 0);
    if (cores === undefined || this.#sharer === undefined || isAtWork === this.#isAtWork) return;
    this.#isAtWork = isAtWork;
    if (isAtWork) cores.enter(this.#sharer);
    else cores.leave(this.#sharer);
  }

  #sharerOf(child: ChildProcess, { cores, mostThreads }: EngineSize): Sharer {
    this.#allowed = undefined;
    return {
      cores,
      most: mostThreads,
      allow: (threads) => {
        if (threads === this.#allowed) return;
        this.#allowed = threads;
        const message: ParentMessage = { threads };
        if (child.connected) child.send(message, () => {}); // one that cannot be told has ended, which is noticed elsewhere
      },
    };
  }

  async #whenReady(signal?: AbortSignal): Promise<EngineInfo> {
    if (signal?.aborted) throw cancelled(signal);
    if (this.#status === "closed") throw new GatewayError("engine_unavailable", "The engine is shut down.");
    if (signal === undefined) return this.#ready;
    const { promise, reject } = withResolvers<never>();
    const abort = (): void => reject(cancelled(signal));
    signal.addEventListener("abort", abort, { once: true });
    return Promise.race([this.#ready, promise]).finally(() => signal.removeEventListener("abort", abort));
  }

  async #launch(): Promise<EngineInfo> {
    const { log, childModule, hangMs: _, cores: _cores, ...options } = this.#options;
    const child = fork(childModule ?? new URL("./child.js", import.meta.url), {
      // One pool thread: with more, each decode lands on another thread and takes twice as long.
      env: { ...process.env, UV_THREADPOOL_SIZE: "1" },
      serialization: "advanced",
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child = child;
    this.#hasWorked = false;
    child.on("message", (message: ChildMessage) => this.#receive(message));
    child.on("error", (error) => log(`engine: ${error.message}`));
    child.once("exit", (code, signal) => this.#exited(child, signal ?? `code ${code}`));
    try {
      this.#watch(child);
      const loaded = await this.#send({ type: "load", options });
      const { info, size } = loaded as Loaded;
      this.#size = size;
      this.#sharer = this.#sharerOf(child, size);
      this.#status = "ready";
      for (const line of size.why) log(`engine: ${line}`);
      const threads = `${size.threads} ${size.threads === 1 ? "thread" : "threads"} of ${size.mostThreads} at most`;
      log(`engine: ${size.sequences} sequences of ${size.contextSize} tokens, ${threads}, ${size.gpu ?? "no GPU"}`);
      return info;
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }

  /** A child that hangs, in native code or out of it, is killed; its exit starts another. */
  #watch(child: ChildProcess): void {
    const { hangMs, log } = this.#options;
    let answered = Date.now();
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => {
      this.#send({ type: "load-report" }).then(
        (load) => {
          if ((load as EngineLoad).stepMs < hangMs) answered = Date.now();
          this.#noteThreads((load as EngineLoad).threads);
        },
        () => {}, // it has died: its exit is handled where it is noticed
      );
      if (Date.now() - answered < hangMs) return;
      log(`engine: the process has not got on for ${hangMs} ms; ending it`);
      clearInterval(this.#heartbeat);
      child.kill("SIGKILL");
    }, heartbeatMs).unref();
  }

  #noteThreads(threads: number): void {
    if (threads === 0) return;
    const change = this.#lastingThreads.see(threads, performance.now());
    if (change === undefined) return;
    this.#options.log(`engine: threads: ${change.now} instead of ${change.before}, which is faster at present`);
  }

  /** A child that dies before it has done any work is started again more and more slowly. */
  #exited(child: ChildProcess, reason: string): void {
    clearInterval(this.#heartbeat);
    for (const pending of this.#pending.values()) pending.reject(new EngineDied());
    this.#pending.clear();
    if (this.#status === "closed" || this.#status === "starting" || child !== this.#child) return;
    this.#failures = this.#hasWorked ? 0 : this.#failures + 1;
    const pauseMs = this.#failures <= 1 ? 0 : Math.min(longestPauseMs, 500 * 2 ** (this.#failures - 1));
    this.#options.log(`engine: the process ended (${reason}); starting it again${pauseMs > 0 ? ` in ${pauseMs} ms` : ""}`);
    this.#status = "restarting";
    this.#restarts += 1;
    this.#ready = new Promise((resolve, reject) => {
      this.#restartTimer = setTimeout(() => this.#launch().then(resolve, reject), pauseMs);
    });
    // Who waits for the engine gets the error; a restart nobody waits for is retried by the next exit.
    this.#ready.catch((error: unknown) => this.#options.log(`engine: ${messageOf(error)}`));
  }

  #receive(message: ChildMessage): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    if ("cached" in message) {
      if (pending.type === "score") this.#addDue(pending, -1);
      pending.events.push({ type: "prompt", cached: message.cached });
    } else if ("logprobs" in message) {
      this.#addDue(pending, -1);
      pending.events.push({ type: "scored", index: message.index, logprobs: message.logprobs, details: message.details });
    } else if ("text" in message) pending.events.push({ type: "text", index: message.index, text: message.text, details: message.details });
    else if ("sample" in message) pending.events.push({ type: "done", index: message.index, sample: message.sample });
    else if ("error" in message) {
      const { code, message: text, param } = message.error;
      pending.reject(new GatewayError(code, text, param === null ? {} : { param }));
    } else pending.resolve(message.result);
  }
}

class EngineDied extends GatewayError {
  constructor(cause?: unknown) {
    super("engine_unavailable", "The engine's process ended; it is being started again. Retry the request.", { cause });
  }
}

/** `Promise.withResolvers`, which Node 20 lacks. */
function withResolvers<Value>(): { promise: Promise<Value>; resolve: (value: Value) => void; reject: (error: unknown) => void } {
  let resolve!: (value: Value) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<Value>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
