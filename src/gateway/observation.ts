/** @module What is told of requests to logs, metrics and traces, whichever there are. */
import type { Context, MiddlewareHandler } from "hono";
import { matchedRoutes } from "hono/route";
import type { Stage } from "../icdpo/pipeline.ts";
import type { TokenUsage } from "../icdpo/token-usage.ts";
import { GatewayError } from "../types/error.ts";
import { type Failure, failureOf } from "./errors.ts";

/** What becomes known of a request while it is answered. */
export interface RequestFacts {
  readonly route?: string;
  /** `everyday@1a2b…` */
  readonly policy?: string;
  /** The experiment that the request takes part in, its arm, its unit's pseudonym, and arm → what its chance was. */
  readonly experiment?: string;
  readonly arm?: string;
  readonly unit?: string;
  readonly shares?: Readonly<Record<string, number>>;
  /** Pseudonym of the request's `user`. */
  readonly user?: string;
  /** The id by which the client knows the answer. */
  readonly answer?: string;
  /** The name of the API key. */
  readonly key?: string;
  /** The client's address. */
  readonly client?: string;
  readonly stream?: boolean;
  readonly candidates?: number;
  readonly answers?: number;
  readonly promptTokens?: number;
  readonly completionTokens?: number;
  /** Of the best candidate, and its lead over the next, in nats. */
  readonly score?: number;
  readonly margin?: number;
  /** β, where the policy's scores are less β for each token. */
  readonly natsPerToken?: number;
  /** The share of the best candidate's 5-grams that are a shown demonstration's, from 0 to 1. */
  readonly copied?: number;
  readonly finish?: string;
  readonly fallback?: string;
}

export interface RequestEnd {
  /** Of an answer that failed after its first byte: what it would have been, had it failed before. */
  readonly status: number;
  /** The pattern of the path, `/v1/models/:id`: there are only so many. */
  readonly path: string;
  /** OpenAI's error code, where there was an error. */
  readonly error?: string;
}

/** All there is to say of a request that is over. Times in milliseconds. */
export interface RequestRecord extends RequestFacts, RequestEnd {
  readonly id: string;
  readonly method: string;
  readonly traceparent: string | undefined;
  /** Since 1970. */
  readonly startedAt: number;
  readonly ms: number;
  readonly firstByteMs: number | undefined;
  /** Absent where the engine was not asked. */
  readonly work?: Readonly<TokenUsage>;
  readonly stages: readonly { readonly stage: Stage; readonly startedAt: number; readonly ms: number }[];
  readonly texts: Readonly<Record<string, unknown>>;
}

/** One request, as it is watched. */
export interface RequestObserver {
  note(facts: RequestFacts): void;
  /** A stage begins, and the one before it has ended; or it goes on. */
  stage(stage: Stage): void;
  /** Text of messages, and what a request says beside them; kept only where that is asked for. */
  text(of: "request" | "settings" | "answers", text: unknown): void;
  /** Tokens that were worked through, beside those told of before. */
  worked(tokens: Readonly<TokenUsage>): void;
  /** The first byte of the answer goes out. */
  begin(): void;
  /** Something went wrong after the first byte. The first failure counts. */
  fail(failure: Failure): void;
  /**
   * Work is under way for the request; it is not over before the returned function has been called, even if nobody
   * waits.
   */
  hold(): () => void;
  /** The answer has gone out, or is not wanted any more. The first end counts. */
  end(end: RequestEnd): void;
}

/** Nothing of it may throw: watching must not harm. */
export interface Telemetry {
  observe(request: {
    readonly id: string;
    readonly method: string;
    readonly traceparent: string | undefined;
  }): RequestObserver;
  /** In Prometheus's format. */
  metrics(): Promise<{ readonly contentType: string; readonly body: string }>;
}

declare module "hono" {
  interface ContextVariableMap {
    observer: RequestObserver;
    /**
     * Of an answer that is streamed: settles when nothing of it waits for its reader any more. False: the reader left
     * before. Absent: it is whole.
     */
    reading: Promise<boolean>;
  }
}

export interface ObserveDependencies {
  readonly telemetry: Telemetry;
  readonly newId: (prefix: string) => string;
  readonly clientAddress: (c: Context) => string | undefined;
}

/** Who leaves before the end, or stops reading. */
const hasLeft = failureOf(new GatewayError("cancelled", "The client has left."));

/** Watches a request until its answer has gone out whole, or the client has left. */
export function observe({ telemetry, newId, clientAddress }: ObserveDependencies): MiddlewareHandler {
  return async (c, next) => {
    const id = newId("req_");
    c.header("x-request-id", id);
    const observer = telemetry.observe({ id, method: c.req.method, traceparent: c.req.header("traceparent") });
    c.set("observer", observer);
    const client = clientAddress(c);
    if (client !== undefined) observer.note({ client });
    await next();
    observer.begin();
    const path = patternOf(c);
    const end = { path, status: c.res.status, ...(c.error && { error: failureOf(c.error).error }) };
    const reading = c.get("reading");
    // An error answers in a stream's place.
    if (reading === undefined || c.error !== undefined) return observer.end(end);
    reading.then((isRead) => observer.end(isRead ? end : { path, ...hasLeft }));
  };
}

export function metrics({ telemetry }: { readonly telemetry: Telemetry }) {
  return async (c: Context): Promise<Response> => {
    const { contentType, body } = await telemetry.metrics();
    return c.body(body, 200, { "content-type": contentType });
  };
}

function patternOf(c: Context): string {
  const { path } = matchedRoutes(c).at(-1) ?? {};
  return path === undefined || path.endsWith("*") ? "none" : path;
}
