/** @module The embedded engine as the gateway sees it: a child process, started again whenever it dies. */
import { type ChildProcess, fork } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { EventQueue } from "../../async/event-queue.ts";
import { growingPause } from "../../async/growing-pause.ts";
import { untilAborted } from "../../async/until-aborted.ts";
import { engineEnvironment } from "../../system/child-environment.ts";
import type { Conversation, Tool } from "../../types/conversation.ts";
import { cancelled, GatewayError } from "../../types/error.ts";
import type { EngineInfo, EngineLoad, Prompt, RunningEngine, SampleEvent, SampleRequest, ScoreEvent, Token, TokenText } from "../engine.ts";
import { contentOf, type SentCall, Suspects } from "../suspects.ts";
import type { Call, ChildMessage, Loaded, ParentMessage, Result } from "./child-messages.ts";
import { CoreShare, type Cores } from "./cores.ts";
import { LastingChange } from "./lasting-change.ts";
import type { EngineSize, NativeOptions } from "./native.ts";

export interface LlamaEngineOptions extends NativeOptions {
  /** Identifies the weights in policy hashes. */
  readonly model: string;
  readonly log: (line: string) => void;
  /** Called each time that the process is started again. */
  readonly onRestart?: (() => void) | undefined;
  /** The compiled child module. */
  readonly childModule?: URL;
  /** A child that answers nothing, or takes longer than this over one step, hangs and is killed. */
  readonly hangMs: number;
  /** A child that does not end by itself within so long, when the engine is closed, is killed. */
  readonly closeMs?: number | undefined;
  /** Shared with the other engines of this program; absent: there are none. */
  readonly cores?: Cores | undefined;
}

export interface LlamaLifecycle {
  readonly status: "starting" | "ready" | "restarting" | "closed";
  readonly restarts: number;
  /** Why it is being started again. */
  readonly reason?: string;
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
  /** Undefined: the gateway's own call, which nobody asked for. */
  readonly sent: SentCall | undefined;
  readonly events: EventQueue<SampleEvent | ScoreEvent>;
  /** What the child has steps to do for: samples, or a prompt and completions to score. */
  due: number;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: GatewayError) => void;
}

const firstPauseMs = 1_000;
const longestPauseMs = 30_000;

const heartbeatMs = 1_000;

/** A child frees its model when it ends, which takes a moment. */
const usualCloseMs = 3_000;

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
  /** Children in a row that could not be started, or died before they had done any work. */
  #failures = 0;
  #hasWorked = false;
  #restarts = 0;
  /** Why the last child ended, or could not be started. */
  #reason = "";
  readonly #closing = new AbortController();
  #heartbeat: NodeJS.Timeout | undefined;
  #size: EngineSize | undefined;
  /** The child's; undefined: there are no other engines. */
  #share: CoreShare | undefined;
  readonly #lastingThreads = new LastingChange<number>(lastingMs);
  readonly #suspects = new Suspects(() => performance.now());
  /** Whose calls the child has answered. */
  #answered = new WeakSet<object>();
  /** The child that was killed because it hung. */
  #hung: ChildProcess | undefined;

  private constructor(options: LlamaEngineOptions) {
    this.#options = options;
    this.#ready = this.#launch();
    this.#ready.catch(() => {}); // `start` throws it
  }

  /** Starts the child and loads the model. Throws "model_unavailable" when llama.cpp cannot load it, "cancelled" when the signal fires. */
  static async start(options: LlamaEngineOptions, signal?: AbortSignal): Promise<LlamaEngine> {
    const engine = new LlamaEngine(options);
    try {
      await engine.#whenReady(signal);
    } catch (error) {
      await engine.close();
      if (signal?.aborted) throw cancelled(signal);
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
    const lifecycle = { status: this.#status, restarts: this.#restarts, pid: this.#child?.pid, size: this.#size };
    return this.#status === "restarting" ? { ...lifecycle, reason: this.#reason } : lifecycle;
  }

  /** With the engine's own account of its work. */
  async state(): Promise<LlamaState> {
    if (this.lifecycle.status !== "ready") return this.lifecycle;
    try {
      const load = await this.load(AbortSignal.timeout(loadReportMs));
      return { ...this.lifecycle, ...load, threads: this.#share?.within(load.threads) ?? load.threads };
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
    this.#call(call, AbortSignal.any([leave.signal, ...(signal ? [signal] : [])]), signal, events, completions).then(
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
    await this.#whenReady(signal);
    return (await this.#send({ type: "load-report" }, signal)) as EngineLoad;
  }

  /** Resolves when the child has ended: by itself, or killed where it hangs. */
  async close(): Promise<void> {
    const { closeMs = usualCloseMs, log } = this.#options;
    this.#status = "closed";
    this.#closing.abort();
    clearInterval(this.#heartbeat);
    const child = this.#child;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    if (child.connected) child.disconnect();
    else child.kill("SIGKILL");
    const limit = setTimeout(() => {
      log(`engine: the process did not end within ${closeMs} ms; killing it`);
      child.kill("SIGKILL");
    }, closeMs);
    await exited;
    clearTimeout(limit);
  }

  /** `owner`: stands for the request that the call is made for. */
  async #call(
    call: Call,
    signal?: AbortSignal,
    owner = signal,
    events = new EventQueue<SampleEvent | ScoreEvent>(),
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]> = [],
  ): Promise<Result> {
    await this.#whenReady(signal);
    const sent: SentCall = { content: () => contentOf(call), owner: owner ?? {}, hasBegun: false };
    await this.#suspects.admit(sent, signal);
    let isWell = false;
    try {
      const result = await this.#send(call, signal, events, completions, sent);
      this.#hasWorked = true;
      isWell = true;
      return result;
    } finally {
      this.#suspects.leave(sent, isWell);
    }
  }

  #send(
    call: Call,
    signal?: AbortSignal,
    events = new EventQueue<SampleEvent | ScoreEvent>(),
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]> = [],
    sent?: SentCall,
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
    const pending = { type: call.type, sent, events, resolve, reject, due: 0 };
    this.#pending.set(id, pending);
    if (call.type === "sample" || call.type === "score") this.#addDue(pending, 1);
    signal?.addEventListener("abort", abort, { once: true });
    post({ id, call });
    if (call.type === "score") passOn().catch(reject);
    return promise.finally(() => {
      this.#pending.delete(id);
      this.#noteWork();
      signal?.removeEventListener("abort", abort);
    });
  }

  #addDue(pending: Pending, count: number): void {
    pending.due += count;
    this.#noteWork();
  }

  /** An engine that has nothing to do, or waits for completions to score, leaves the cores to the others. */
  #noteWork(): void {
    this.#share?.setAtWork([...this.#pending.values()].some(({ due }) => due > 0));
  }

  #shareOf(child: ChildProcess, { cores, mostThreads: most }: EngineSize): CoreShare | undefined {
    const pool = this.#options.cores;
    if (pool === undefined) return undefined;
    return new CoreShare(pool, { cores, most }, (threads) => {
      const message: ParentMessage = { threads };
      if (child.connected) child.send(message, () => {}); // one that cannot be told has ended, which is noticed elsewhere
    });
  }

  async #whenReady(signal?: AbortSignal): Promise<EngineInfo> {
    if (signal?.aborted) throw cancelled(signal);
    if (this.#status === "closed") throw shutDown();
    return untilAborted(this.#ready, signal);
  }

  /** Starts a child and has it load the model. Throws where either fails; the child has ended then. */
  async #launch(): Promise<EngineInfo> {
    const { log, onRestart: _onRestart, childModule, hangMs: _hangMs, closeMs: _closeMs, cores: _cores, ...options } = this.#options;
    const child = fork(childModule ?? new URL("./child.js", import.meta.url), {
      // Linux shares the cores between sessions first: in one of its own, what is busy in the gateway's leaves the engine more.
      detached: process.platform === "linux",
      // One pool thread: with more, each decode lands on another thread and takes twice as long.
      env: { ...engineEnvironment(process.env), UV_THREADPOOL_SIZE: "1" },
      serialization: "advanced",
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child = child;
    this.#hasWorked = false;
    const ended = new Promise<string>((resolve) => {
      child.once("exit", (code, signal) => {
        this.#blame(child, signal);
        resolve(`the process ended (${signal ?? `code ${code}`})`);
      });
      child.on("error", (error) => {
        // A process that could not be started has no exit.
        if (child.pid === undefined) resolve(`the process could not be started (${error.message})`);
        else log(`engine: ${error.message}`);
      });
    });
    void ended.then((reason) => this.#ended(child, reason));
    child.on("message", (message: ChildMessage) => this.#receive(message));
    try {
      this.#watch(child);
      const loaded = await this.#send({ type: "load", options });
      if (this.#closing.signal.aborted) throw shutDown();
      const { info, size } = loaded as Loaded;
      this.#size = size;
      this.#share = this.#shareOf(child, size);
      this.#status = "ready";
      for (const line of size.why) log(`engine: ${line}`);
      const threads = `${size.threads} ${size.threads === 1 ? "thread" : "threads"} of ${size.mostThreads} at most`;
      log(`engine: ${size.sequences} sequences of ${size.contextSize} tokens, ${threads}, ${size.gpu ?? "no GPU"}`);
      return info;
    } catch (error) {
      child.kill("SIGKILL");
      const reason = await ended;
      throw error instanceof EngineDied ? new Error(reason, { cause: error }) : error;
    }
  }

  /**
   * A child that hangs, in native code or out of it, is killed; its exit starts another. Beats are counted, not time: when this process itself has
   * stood still, in a container that was paused, say, that is no fault of the child's.
   */
  #watch(child: ChildProcess): void {
    const { hangMs, log } = this.#options;
    let unanswered = 0;
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => {
      if (unanswered * heartbeatMs >= hangMs) {
        log(`engine: the process has not got on for ${hangMs} ms; ending it`);
        clearInterval(this.#heartbeat);
        this.#hung = child;
        child.kill("SIGKILL");
        return;
      }
      unanswered += 1;
      this.#send({ type: "load-report" }).then(
        (load) => {
          if ((load as EngineLoad).stepMs < hangMs) unanswered = 0;
          this.#noteThreads((load as EngineLoad).threads);
        },
        () => {}, // it has died: its exit is handled where it is noticed
      );
    }, heartbeatMs).unref();
  }

  #noteThreads(threads: number): void {
    if (threads === 0) return;
    const change = this.#lastingThreads.see(threads, performance.now());
    if (change === undefined) return;
    this.#options.log(`engine: threads: ${change.now} instead of ${change.before}, which is faster at present`);
  }

  /**
   * Who may be why the child ended. A signal that no fault raises comes from outside, perhaps from a system that had no memory left: one such end proves
   * nothing. One that hung had perhaps done so before it was asked at all.
   */
  #blame(child: ChildProcess, signal: NodeJS.Signals | null): void {
    if (child !== this.#child || this.#status === "closed") return;
    const calls = [...this.#pending.values()].flatMap(({ sent }) => sent ?? []);
    const isHeard = calls.some(({ hasBegun, owner }) => hasBegun || this.#answered.has(owner as object));
    const isFault = this.#hung === child ? isHeard : signal === null || faults.has(signal);
    this.#suspects.blame(calls, isFault ? "fault" : "outside");
    this.#answered = new WeakSet();
  }

  #diedUnder({ sent }: Pending): GatewayError {
    try {
      if (sent !== undefined) this.#suspects.check(sent);
      return new EngineDied();
    } catch (error) {
      return error as GatewayError;
    }
  }

  #ended(child: ChildProcess, reason: string): void {
    if (child !== this.#child) return;
    clearInterval(this.#heartbeat);
    for (const pending of this.#pending.values()) pending.reject(this.#status === "closed" ? shutDown() : this.#diedUnder(pending));
    this.#pending.clear();
    // Whoever starts a child learns itself that it has ended before it was ready.
    if (this.#status === "ready") void this.#startAgain(reason);
  }

  /**
   * Tries until a child is ready, or the engine is closed: more and more slowly, where children cannot be started, or die before they have done any
   * work. Calls wait while a child loads, and are refused during a pause.
   */
  async #startAgain(reason: string): Promise<void> {
    this.#status = "restarting";
    this.#reason = reason;
    this.#failures = this.#hasWorked ? 0 : this.#failures + 1;
    while (!this.#closing.signal.aborted) {
      const pauseMs = this.#failures <= 1 ? 0 : Math.ceil(growingPause(this.#failures - 2, firstPauseMs, longestPauseMs));
      this.#options.log(`engine: ${this.#reason}; starting it again${pauseMs > 0 ? ` in ${pauseMs} ms` : ""}`);
      if (pauseMs > 0) {
        this.#await(Promise.reject(notYet(pauseMs)));
        await pause(pauseMs, undefined, { signal: this.#closing.signal }).catch(() => {}); // closed meanwhile
        if (this.#closing.signal.aborted) return;
      }
      this.#restarts += 1;
      this.#options.onRestart?.();
      const launched = this.#launch();
      this.#await(
        launched.catch((error: unknown) => {
          throw this.#closing.signal.aborted ? shutDown() : new EngineDied(error);
        }),
      );
      try {
        await launched;
        return;
      } catch (error) {
        this.#reason = messageOf(error);
        this.#failures += 1;
      }
    }
  }

  /** What calls wait for. Nobody may: then its failure is nobody's. */
  #await(ready: Promise<EngineInfo>): void {
    this.#ready = ready;
    ready.catch(() => {});
  }

  #heard(sent: SentCall, message: ChildMessage): void {
    if (!("fed" in message)) sent.hasBegun = true;
    this.#answered.add(sent.owner as object);
  }

  #receive(message: ChildMessage): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    if (pending.sent !== undefined) this.#heard(pending.sent, message);
    if ("fed" in message) pending.events.push({ type: "prefill", fed: message.fed });
    else if ("cached" in message) {
      if (pending.type === "score") this.#addDue(pending, -1);
      pending.events.push({ type: "prompt", cached: message.cached });
    } else if ("logprobs" in message) {
      this.#addDue(pending, -1);
      pending.events.push({ type: "scored", index: message.index, logprobs: message.logprobs, details: message.details });
    } else if ("text" in message) {
      const { index, text, tokens, details } = message;
      pending.events.push({ type: "text", index, text, tokens, details });
    } else if ("sample" in message) pending.events.push({ type: "done", index: message.index, sample: message.sample });
    else if ("error" in message) {
      const { code, message: text, param } = message.error;
      pending.reject(new GatewayError(code, text, param === null ? {} : { param }));
    } else pending.resolve(message.result);
  }
}

/** By which a process ends when its own code is at fault. */
const faults: ReadonlySet<NodeJS.Signals> = new Set(["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS"]);

class EngineDied extends GatewayError {
  constructor(cause?: unknown) {
    super("engine_unavailable", "The engine's process ended; it is being started again. Retry the request.", { cause });
  }
}

/** Calls that come before the next try. */
function notYet(pauseMs: number): GatewayError {
  const details = { retryAfter: Math.ceil(pauseMs / 1000) };
  return new GatewayError("engine_unavailable", "The engine's process ended and cannot be started again yet. Retry the request.", details);
}

function shutDown(): GatewayError {
  return new GatewayError("engine_unavailable", "The engine is shut down.");
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
