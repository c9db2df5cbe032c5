/**
 * @module What every request owes, whatever it asks for: a place among those under way, limits of time, an account of
 * its tokens that is charged and told however it ends.
 */
import type { Context } from "hono";
import type { Caller, Reservation } from "../access/access.ts";
import { EventQueue } from "../async/event-queue.ts";
import { retry } from "../async/retry.ts";
import type { TokenDetail } from "../engine/engine.ts";
import type { Stage } from "../icdpo/pipeline.ts";
import { computedTokens, noUsage, type TokenUsage } from "../icdpo/token-usage.ts";
import { GatewayError } from "../types/error.ts";
import { detailSize } from "./answer-room.ts";
import type { BodyShare } from "./body-room.ts";
import { StageDeadlines } from "./deadlines.ts";
import type { Demand } from "./demand.ts";
import type { AppDependencies } from "./dependencies.ts";
import { Meter, watched } from "./meter.ts";
import type { RequestObserver } from "./observation.ts";

export type WorkDependencies = Pick<
  AppDependencies,
  "admission" | "deadline" | "limiter" | "report" | "shutdown" | "stageLimits"
>;

/** Who asks for work: who pays, who watches, and what says that nobody waits for it any more. */
export interface Asker {
  readonly caller: Caller;
  readonly observer: RequestObserver;
  readonly left: readonly AbortSignal[];
  /** It is the gateway that wants the work done: no request of the caller's is under way for it. */
  readonly isBackground?: boolean;
  /** Its body, which is held as long as it is worked on. */
  readonly body?: BodyShare | undefined;
  /** Settles when the answer has been read: its place is kept until then. Absent: it is free when the work ends. */
  readonly read?: Promise<void>;
}

/** What a request's work is given. */
export interface Work {
  /** Fires when nobody waits any more, or it takes too long. */
  readonly signal: AbortSignal;
  /**
   * Runs what needs the engine, which counts its tokens in the given account as they are worked through. Where the
   * engine ends in the middle of it and nothing of it has been sent, it is run once more, with an account of its own:
   * both are charged.
   */
  readonly attempt: <Result>(run: (tokens: TokenUsage) => Promise<Result>) => Promise<Result>;
  /** A stage begins. */
  readonly enter: (stage: Stage) => void;
  /** Fires when the caller may take no more tokens: answers end with what there is. Absent: they are paid for. */
  readonly spent: AbortSignal | undefined;
}

/** Whoever sent the request. */
export function askerOf(c: Context): Asker {
  return { caller: c.get("caller"), observer: c.get("observer"), left: [c.req.raw.signal], body: c.get("body")?.share };
}

/**
 * Does the work of one request, or of one part of it. Throws "overloaded" and "rate_limited" before anything is begun,
 * "timeout" and "cancelled" by its signal. What it may take is counted against the caller's limits before it begins.
 * However it ends, what was worked through is charged in place of that and told, before the request counts as over.
 */
export async function withRequest<Result>(
  { caller, observer, left, isBackground, body, read }: Asker,
  { admission, deadline, limiter, report, shutdown, stageLimits }: WorkDependencies,
  demand: Demand,
  work: (work: Work) => Promise<Result>,
  hasSent: () => boolean = () => false,
): Promise<Result> {
  const leave = admission.enter(demand.answers);
  const settle = observer.hold();
  const letGo = body?.use();
  const deadlines = new StageDeadlines(stageLimits, [...left, deadline(), shutdown]);
  const accounts: TokenUsage[] = [];
  const attempt: Work["attempt"] = (run) =>
    onceMore(async () => {
      const account = noUsage();
      accounts.push(account);
      const tokens = meter === undefined ? account : watched(account, () => meter?.look());
      try {
        return await run(tokens);
      } catch (error) {
        // What was shown was used, however it ended.
        if (hasSent()) observer.note({ completionTokens: tokens.sampled });
        throw error;
      }
    }, hasSent);
  const enter = (stage: Stage): void => {
    observer.stage(stage);
    deadlines.enter(stage);
  };
  let reservation: Reservation | undefined;
  let meter: Meter | undefined;
  try {
    reservation = await limiter.reserve(caller, () => demand.tokens(deadlines.signal), isBackground);
    const isCounted = demand.step !== undefined && Number.isFinite(reservation.tokens);
    meter = isCounted ? new Meter(reservation, demand.step, accounts) : undefined;
    return await work({ signal: deadlines.signal, attempt, enter, spent: meter?.spent });
  } finally {
    deadlines.close();
    letGo?.();
    if (read === undefined) leave();
    else void read.then(leave);
    for (const tokens of accounts) observer.worked(tokens);
    await meter?.close();
    // An answer is not lost because it could not be charged.
    await reservation?.settle(accounts.map(computedTokens).reduce((a, b) => a + b, 0)).catch(report);
    settle();
  }
}

/**
 * Does it once more where the engine ended in the middle of it, nothing of it has been sent, and nobody has tried it
 * again already.
 */
export function onceMore<Result>(work: () => Promise<Result>, hasSent: () => boolean): Promise<Result> {
  const mayPass = (error: unknown): boolean =>
    error instanceof GatewayError && error.code === "engine_unavailable" && !error.isFinal && !hasSent();
  return retry(work, { attempts: 2, mayPass });
}

/**
 * Characters of events that may wait for a client while more are made, beside what the systems hold. Who falls further
 * behind is taken to have left.
 */
const mostWaiting = 2 ** 20;

/** Characters of a piece of text with its tokens' details, roughly, while it waits. */
export function sizeOf(text: string, details: readonly Pick<TokenDetail, "top">[]): number {
  return text.length + detailSize * details.reduce((sum, { top }) => sum + 1 + top.length, 0);
}

/** Who reads events while they are made. */
export interface Reader {
  /** Fires when nobody reads any more: the work stops. */
  readonly left: AbortSignal;
  /** Nobody will read any more; `reason`: why, where that is no reader's wish. */
  readonly leave: (reason?: GatewayError) => void;
  /** Settles when nothing waits for the reader any more: the place is free. */
  readonly read: Promise<void>;
  /** No more is made, however far its events have been read. */
  readonly hurry: () => void;
}

export interface Outlet<Event> {
  /**
   * Nothing can be wrong with the request any more, says an event, once: what comes from now on comes as events. It may
   * still be tried again.
   */
  begin(event: Event): void;
  /** An event of so many characters, as it happens. From the first one on, nothing is tried again. */
  push(event: Event, size: number): void;
}

export interface Finished<Event> {
  /** The last events. */
  readonly rest: readonly Event[];
  /** Called once the request is over. */
  readonly after?: () => void;
}

/**
 * Does the work as `withRequest` does; its events, as they happen. What is wrong with the request is thrown before the
 * first one. The place is kept until all has been read: what waits for readers is bounded as work is. Leaving the loop
 * stops the work.
 */
export function streamWork<Event>(
  asker: Asker,
  reader: Reader,
  dependencies: WorkDependencies,
  demand: Demand,
  work: (work: Work, out: Outlet<Event>) => Promise<Finished<Event>>,
): AsyncIterableIterator<Event, undefined> {
  const events = new EventQueue<Event>();
  let hasBegun = false;
  let hasSent = false;
  let isOver = false;
  const begin = (event: Event): void => {
    if (!hasBegun) events.push(event);
    hasBegun = true;
  };
  const push = (event: Event, size: number): void => {
    if (reader.left.aborted) return;
    hasSent = true;
    events.push(event, size);
    if (events.waiting > mostWaiting) reader.leave(tooSlow());
  };
  const linked: Asker = { ...asker, left: [...asker.left, reader.left], read: reader.read };
  const finish = ({ rest, after }: Finished<Event>): void => {
    if (reader.left.aborted) throw tooSlow();
    for (const event of rest) events.push(event);
    isOver = true;
    events.end();
    after?.();
  };
  withRequest(
    linked,
    dependencies,
    demand,
    (given) => work(given, { begin, push }),
    () => hasSent,
  )
    .then(finish)
    .catch((error: unknown) => {
      isOver = true;
      events.fail(error);
    })
    .finally(reader.hurry);
  const leave = async (): Promise<IteratorResult<Event, undefined>> => {
    // An abort costs a stack trace.
    if (!isOver) reader.leave();
    return { value: undefined, done: true };
  };
  return {
    next: () => events.next(),
    return: leave,
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

function tooSlow(): GatewayError {
  return new GatewayError("cancelled", "The client reads its answer more slowly than it is made.");
}
