/**
 * @module The engine's own process: llama.cpp decodes on libuv's pool, which must have one thread, and a crash there
 * must not take the gateway down.
 */
import { EventQueue } from "../../async/event-queue.ts";
import { cancelled, GatewayError } from "../../types/error.ts";
import { noSuchToken, tooLong } from "../characters.ts";
import type { Contrast, EngineLoad, Prompt, SampleRequest, Token } from "../engine.ts";
import type { Call, ChildMessage, Loaded, LoadOptions, ParentMessage, Result } from "./child-messages.ts";
import { CompletionText } from "./completion-text.ts";
import { ContrastSequences } from "./contrast-sequences.ts";
import { type LoadedModel, loadModel } from "./loaded-model.ts";
import { loadRanking, type RankingModel } from "./ranking-model.ts";
import { Schedulers } from "./schedulers.ts";
import { type Ownership, undivided } from "./slots.ts";
import type { TaskRequest } from "./task.ts";
import {
  SampledSequence,
  type SampledSequenceOptions,
  ScoredSequence,
  type ScoredSequenceOptions,
} from "./task-sequences.ts";

/** A call under way. */
interface Running {
  readonly controller: AbortController;
  /** Completions to score, as they come. */
  readonly completions: EventQueue<readonly Token[]>;
}

const running = new Map<number, Running>();
let loaded: { model: LoadedModel; schedulers: Schedulers } | undefined;
/** Instead of a language model. */
let ranking: RankingModel | undefined;

process.on("message", (message: ParentMessage) => {
  if ("threads" in message) return limitThreads(message.threads);
  const call = running.get(message.id);
  if ("call" in message) void answer(message.id, message.call);
  else if ("abort" in message) call?.controller.abort();
  else if (message.completion === null) call?.completions.end();
  else call?.completions.push(message.completion);
});
// Ctrl-C in a terminal reaches every process there; the gateway says when its engine is no longer needed.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
// The gateway is gone, however it went: so is its engine.
process.on("disconnect", () => process.exit(0));

function send(message: ChildMessage): void {
  // A gateway that cannot be told any more is gone: "disconnect" follows.
  process.send?.(message, undefined, undefined, () => {});
}

async function answer(id: number, call: Call): Promise<void> {
  const controller = new AbortController();
  const completions = new EventQueue<readonly Token[]>();
  running.set(id, { controller, completions });
  try {
    send({ id, result: await perform(id, call, completions, controller.signal) });
  } catch (error) {
    const known =
      error instanceof GatewayError
        ? error
        : new GatewayError("engine_failure", `The engine failed: ${error instanceof Error ? error.message : error}`);
    send({ id, error: { code: known.code, message: known.message, param: known.param } });
  } finally {
    running.delete(id);
    controller.abort(); // whatever a failed call left behind
  }
}

async function perform(
  id: number,
  call: Call,
  completions: EventQueue<readonly Token[]>,
  signal: AbortSignal,
): Promise<Result> {
  if (call.type === "load") return load(call.options);
  if (call.type === "load-report") return loadReport();
  if (call.type === "reward" && ranking !== undefined) return ranking.reward(call.conversation, call.response, signal);
  if (call.type === "reward" || loaded === undefined)
    throw new GatewayError("engine_unavailable", "The engine has not loaded its model yet.");
  const { model, schedulers } = loaded;
  switch (call.type) {
    case "tokenize":
      return tokenizeInTurns(call.texts, model, signal);
    case "describe":
      checkTokens(call.tokens, model);
      return call.tokens.map((token) => model.describe(token));
    case "detokenize":
      checkTokens(call.tokens, model);
      return decodeWhole(call.tokens.flatMap((token) => model.describe(token).bytes));
    case "text-prompt":
      return model.textPrompt(call.text, call.special);
    case "chat-prompt":
      return model.chatPrompt(call.messages, call.tools, call.variables);
    case "sample": {
      const { prompt, request } = call;
      if (request.contrast === undefined) await sample(id, prompt, request, model, schedulers, signal);
      else await sampleContrast(id, prompt, request, request.contrast, model, schedulers, signal);
      return null;
    }
    case "score":
      await score(id, call, completions, model, schedulers, signal);
      return null;
  }
}

async function load(options: LoadOptions): Promise<Loaded> {
  if (options.ranking !== undefined) {
    ranking = await loadRanking(options, options.ranking);
    const { info, size } = ranking;
    return { info, size };
  }
  const model = await loadModel(options);
  loaded = { model, schedulers: new Schedulers(model.backend, { longer: model.longer, open: model.openLonger }) };
  return { info: model.info, size: model.size };
}

function limitThreads(threads: number): void {
  ranking?.limitThreads(threads);
  loaded?.model.threads.limit(threads);
  loaded?.schedulers.limitThreads(threads);
}

function loadReport(): EngineLoad {
  if (ranking !== undefined) return ranking.load();
  if (loaded === undefined) return { active: 0, waiting: 0, freeSequences: 0, stepMs: 0, threads: 0 };
  return { ...loaded.schedulers.load, threads: loaded.model.threads.settled };
}

async function sample(
  id: number,
  prompt: Prompt,
  request: SampleRequest,
  model: LoadedModel,
  schedulers: Schedulers,
  signal: AbortSignal,
): Promise<void> {
  const { backend } = model;
  const maxTokens = roomFor([prompt], request, model, schedulers);
  const sequences = request.seeds.map((seed, index) => {
    const sampler = backend.createSampler(request, seed, prompt.tokens);
    return new SampledSequence({ ...sampledBy(id, index, prompt, { ...request, maxTokens }, model), sampler });
  });
  const task = { kind: "sample", prompt: prompt.tokens, owner: ownerOf(prompt), sequences, signal } as const;
  await schedulers.run({ ...task, ...accountOf(id) }, maxTokens);
}

/** One sample, of two contexts in step: C⁺, which is the prompt, and C⁻. */
async function sampleContrast(
  id: number,
  prompt: Prompt,
  request: SampleRequest,
  contrast: Contrast,
  model: LoadedModel,
  schedulers: Schedulers,
  signal: AbortSignal,
): Promise<void> {
  const prompts = [prompt, contrast.prompt] as const;
  const [seed, ...others] = request.seeds;
  if (seed === undefined || others.length > 0)
    throw new GatewayError("invalid_request", "Contrastive decoding makes one sample a call.", { param: "n" });
  const maxTokens = roomFor(prompts, request, model, schedulers);
  const sampler = model.backend.createContrastSampler(request, contrast, seed, prompt.tokens);
  const { positive, negative } = new ContrastSequences({
    ...sampledBy(id, 0, prompt, { ...request, maxTokens }, model),
    sampler,
  });
  const accounts = accountsOf(id, prompts.length);
  const tasks = [positive, negative].map((sequence, i): TaskRequest => {
    const { tokens } = prompts[i] as Prompt;
    return {
      kind: "sample",
      prompt: tokens,
      owner: ownerOf(prompts[i] as Prompt),
      sequences: [sequence],
      signal,
      ...accounts[i],
    };
  });
  await schedulers.runInStep(tasks, maxTokens, signal);
}

/** Tokens that a sample may have after each of the prompts. Throws where there is none, or a prompt cannot be fed. */
function roomFor(
  prompts: readonly Prompt[],
  { maxTokens }: SampleRequest,
  model: LoadedModel,
  { contextSize }: Schedulers,
): number {
  for (const prompt of prompts) {
    checkTokens(prompt.tokens, model);
    checkPrompt(prompt, contextSize - prompt.tokens.length, model);
  }
  return Math.min(maxTokens, ...prompts.map(({ tokens }) => contextSize - tokens.length));
}

/** What a sample's sequence needs beside its sampler. */
function sampledBy(
  id: number,
  index: number,
  { end, leaves = [] }: Prompt,
  request: SampleRequest,
  { backend, detokenize, endsGeneration, describe }: LoadedModel,
): Omit<SampledSequenceOptions, "sampler"> {
  const ends = new Set([end, ...leaves, ...(request.endTokens ?? [])]);
  return {
    backend,
    text: new CompletionText(detokenize, request.stop),
    request,
    end,
    endsTurn: (token) => endsGeneration(token) || ends.has(token),
    describe,
    onText: (text, tokens, details) => send({ id, index, text, tokens, details }),
    onDone: (sample) => send({ id, index, sample }),
  };
}

async function score(
  id: number,
  { prompt, topLogprobs }: Extract<Call, { type: "score" }>,
  completions: EventQueue<readonly Token[]>,
  model: LoadedModel,
  schedulers: Schedulers,
  signal: AbortSignal,
): Promise<void> {
  const { backend } = model;
  const { contextSize } = schedulers;
  const check = (tokens: number): void => checkPrompt(prompt, contextSize + 2 - prompt.tokens.length - tokens, model);
  checkTokens(prompt.tokens, model);
  check(1);
  const task = schedulers.open({
    kind: "score",
    prompt: prompt.tokens,
    owner: ownerOf(prompt),
    sequences: [],
    signal,
    ...accountOf(id),
  });
  task.done.catch((error: unknown) => completions.fail(error));
  signal.addEventListener("abort", () => completions.fail(cancelled(signal)), { once: true });
  let count = 0;
  for await (const completion of completions) {
    const index = count++;
    check(completion.length);
    checkTokens(completion, model);
    const onDone: ScoredSequenceOptions["onDone"] = (logprobs, details) => send({ id, index, logprobs, details });
    if (completion.length === 0) onDone([], []);
    else task.add(new ScoredSequence(backend, completion, { topLogprobs, describe: model.describe, onDone }));
  }
  task.close();
  await task.done;
}

/** What follows a prompt is the tenant's own, whatever the prompt was. */
function ownerOf({ tenant, shared = 0, tokens }: Prompt): Ownership {
  return tenant === undefined ? undivided : { tenant, shared: Math.min(shared, tokens.length) };
}

/** Between so many characters of texts, the others have their turn. */
const charactersAtOnce = 100_000;

/** `[texts][tokens]` */
async function tokenizeInTurns(texts: readonly string[], model: LoadedModel, signal: AbortSignal): Promise<Token[][]> {
  const all: Token[][] = [];
  let characters = 0;
  for (const text of texts) {
    characters += text.length;
    if (characters > charactersAtOnce) {
      characters = text.length;
      await new Promise((resolve) => setImmediate(resolve));
      if (signal.aborted) throw cancelled(signal);
    }
    all.push(model.tokenize(text));
  }
  return all;
}

/** What a call tells of its prompt. */
function accountOf(id: number): Pick<TaskRequest, "onPrefill" | "onPrompt"> {
  return { onPrefill: (fed) => send({ id, fed }), onPrompt: (cached) => send({ id, cached }) };
}

/** What a call tells of its prompts, where it has several: their sums. It tells that they are there when all are. */
function accountsOf(id: number, prompts: number): Pick<TaskRequest, "onPrefill" | "onPrompt">[] {
  const fed = Array.from({ length: prompts }, () => 0);
  const cached: number[] = [];
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  return fed.map((_, i) => ({
    onPrefill: (tokens) => {
      fed[i] = tokens;
      send({ id, fed: sum(fed) });
    },
    onPrompt: (tokens) => {
      if (cached.push(tokens) === prompts) send({ id, cached: sum(cached) });
    },
  }));
}

/** What may be half a character at the end is left out. */
function decodeWhole(bytes: readonly number[]): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes), { stream: true });
}

/** llama.cpp would read beyond its tables. */
function checkTokens(tokens: readonly Token[], { vocabularySize }: LoadedModel): void {
  const unknown = tokens.find((token) => !(token >= 0 && token < vocabularySize));
  if (unknown !== undefined) throw noSuchToken(unknown, vocabularySize, "prompt");
}

function checkPrompt(prompt: Prompt, room: number, { info }: LoadedModel): void {
  if (prompt.tokens.length === 0)
    throw new GatewayError("invalid_request", "The prompt is empty.", { param: "messages" });
  if (room < 1) throw tooLong(info, prompt.tokens.length, "tokens", "messages");
}
