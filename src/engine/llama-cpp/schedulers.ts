/**
 * @module Where a task runs: in the usual sequences, or in longer ones. What outgrows the usual ones goes on in longer
 * ones. The contexts take turns, a step each.
 */
import { inOrder } from "../../async/in-order.ts";
import { GatewayError } from "../../types/error.ts";
import type { Token } from "../engine.ts";
import type { Backend } from "./backend.ts";
import { type Lent, type LongOptions, LongSequences } from "./long-sequences.ts";
import { type OpenTask, Scheduler, type SchedulerLoad } from "./scheduler.ts";
import type { TaskRequest, TaskSequence } from "./task.ts";

/** A sequence begins where it leaves this share of the context to its answer: most answers are short. */
const shareForAnswer = 1 / 4;

export interface SchedulersOptions extends Pick<LongOptions, "longer" | "open"> {
  /** Milliseconds, from any origin. */
  readonly now?: () => number;
}

export class Schedulers {
  /** Tokens that a prompt and what follows it may take together. */
  readonly contextSize: number;
  readonly #usual: Lent;
  readonly #long: LongSequences;

  constructor(usual: Backend, { longer, open, now }: SchedulersOptions) {
    const options = { turn: inOrder(), ...(now !== undefined && { now }) };
    const { contextSize } = usual;
    this.contextSize = longer.at(-1)?.contextSize ?? contextSize;
    this.#usual = { scheduler: new Scheduler(usual, options), contextSize, release() {} };
    this.#long = new LongSequences({ ...options, longer, open });
  }

  /** Of all contexts: `freeSequences` are the usual ones that are free, less the longer ones that are not. */
  get load(): SchedulerLoad {
    const { active, waiting, freeSequences, stepMs } = this.#usual.scheduler.load;
    const long = this.#long.scheduler;
    if (long === undefined) return { active, waiting, freeSequences, stepMs };
    return {
      active: active + long.load.active,
      waiting: waiting + long.load.waiting,
      freeSequences: freeSequences - long.usedSequences,
      stepMs: Math.max(stepMs, long.load.stepMs),
    };
  }

  limitThreads(threads: number): void {
    this.#long.limitThreads(threads);
  }

  /**
   * Resolves when all sequences are done; each feeds `mostTokens` after the prompt at most. Throws "cancelled" within one
   * step of the signal, "out_of_room" where the prompt needs longer sequences and they cannot be had, or the backend's
   * error. An answer that outgrows its sequence and cannot go on ends there.
   */
  async run(request: TaskRequest, mostTokens: number): Promise<void> {
    const { kind, prompt, signal } = request;
    const moved: Promise<void>[] = [];
    const onFull = (sequence: TaskSequence, tokens: readonly Token[]): void => {
      const left = mostTokens - (tokens.length - prompt.length);
      const further = this.run(withoutAccount({ ...request, prompt: tokens, sequences: [sequence] }), left);
      moved.push(held(further.catch((error: unknown) => cutShort([sequence], error))));
    };
    const expected = kind === "score" ? mostTokens : Math.min(mostTokens, this.#usualAnswer);
    const lent = await this.#takeFor([request], prompt.length + expected, signal);
    try {
      await lent.scheduler.run({ ...request, onFull });
    } finally {
      lent.release();
    }
    await Promise.all(moved);
  }

  /**
   * As `run`, of samples in step, one in each request, which all feed the same number of tokens: what outgrows its
   * sequence goes on elsewhere with the others. Throws "out_of_room" also where so many sequences cannot be had at once.
   */
  async runInStep(requests: readonly TaskRequest[], mostTokens: number, signal: AbortSignal): Promise<void> {
    const longest = Math.max(...requests.map(({ prompt }) => prompt.length));
    const outgrown: TaskRequest[] = [];
    const tasks = requests.map((request): TaskRequest => {
      const onFull = (sequence: TaskSequence, tokens: readonly Token[]): void => {
        outgrown.push(withoutAccount({ ...request, prompt: tokens, sequences: [sequence] }));
      };
      return { ...request, behind: longest - request.prompt.length, onFull };
    });
    const lent = await this.#takeFor(requests, longest + Math.min(mostTokens, this.#usualAnswer), signal);
    try {
      await lent.scheduler.runInStep(tasks, signal);
    } finally {
      lent.release();
    }
    if (outgrown.length === 0) return;
    const left = mostTokens - (Math.max(...outgrown.map(({ prompt }) => prompt.length)) - longest);
    await this.runInStep(outgrown, left, signal).catch((error: unknown) =>
      cutShort(
        outgrown.flatMap(({ sequences }) => sequences),
        error,
      ),
    );
  }

  /** As `run` does, of sequences that are still to come. */
  open(request: TaskRequest): OpenTask {
    const { prompt, signal } = request;
    const moved: Promise<void>[] = [];
    const opened = this.#take(prompt.length + this.#usualAnswer, signal).then((lent) => ({
      lent,
      task: lent.scheduler.open(request),
    }));
    const finish = async (): Promise<void> => {
      const { lent, task } = await opened;
      await task.done.finally(lent.release);
      await Promise.all(moved);
    };
    const add = async (sequence: TaskSequence): Promise<void> => {
      const { lent, task } = await opened;
      const { length } = sequence.start;
      if (prompt.length + length <= lent.contextSize) task.add(sequence);
      else moved.push(held(this.run(withoutAccount({ ...request, sequences: [sequence] }), length)));
    };
    const unopened = (): void => {}; // `done` tells why
    return {
      done: finish(),
      add: (sequence) => void add(sequence).catch(unopened),
      close: () => void opened.then(({ task }) => task.close()).catch(unopened),
    };
  }

  /** Of the usual context: most answers are shorter. */
  get #usualAnswer(): number {
    return Math.ceil(this.#usual.contextSize * shareForAnswer);
  }

  /** As `take` does; where it throws, nothing of the requests is left. */
  async #takeFor(requests: readonly TaskRequest[], tokens: number, signal: AbortSignal): Promise<Lent> {
    try {
      const lent = await this.#take(tokens, signal);
      if (requests.length <= lent.scheduler.mostInStep) return lent;
      lent.release();
      throw tooFew(lent.contextSize);
    } catch (error) {
      for (const { sequences } of requests) for (const sequence of sequences) sequence.dispose();
      throw error;
    }
  }

  async #take(tokens: number, signal: AbortSignal): Promise<Lent> {
    const isUsual = tokens <= this.#usual.contextSize || this.contextSize === this.#usual.contextSize;
    return isUsual ? this.#usual : this.#long.take(tokens, signal);
  }
}

/** What goes on elsewhere: its task has told of its prompt. */
function withoutAccount({ onPrefill, onPrompt, ...request }: TaskRequest): TaskRequest {
  return request;
}

/** Its task waits for it, when it has come to that. */
function held(done: Promise<void>): Promise<void> {
  done.catch(() => {});
  return done;
}

/** An answer that finds no memory to go on in is as long as it is. */
function cutShort(sequences: readonly TaskSequence[], error: unknown): void {
  const isRoom = error instanceof GatewayError && error.code === "out_of_room";
  if (!isRoom || sequences.some(({ cut }) => cut === undefined)) throw error;
  for (const sequence of sequences) sequence.cut?.();
}

function tooFew(contextSize: number): GatewayError {
  return new GatewayError(
    "out_of_room",
    `Contrastive decoding takes two sequences at once, and the engine has one of ${contextSize} tokens: it needs more sequences (ICDPO_SEQUENCES), shorter ones (ICDPO_CONTEXT_SIZE), or more memory.`,
  );
}
