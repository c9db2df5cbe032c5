/** @module What is told of requests to logs, metrics and traces, whichever there are. */
import type { Context, MiddlewareHandler } from "hono";
import { matchedRoutes } from "hono/route";
import type { Stage } from "../icdpo/pipeline.ts";
import type { TokenWork } from "../icdpo/sample.ts";
import { renderError } from "./errors.ts";

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
  readonly work?: Readonly<TokenWork>;
  /** Of the best candidate, and its lead over the next, in nats. */
  readonly score?: number;
  readonly margin?: number;
  readonly finish?: string;
  readonly fallback?: string;
}

export interface RequestEnd {
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
  readonly stages: readonly { readonly stage: Stage; readonly startedAt: number; readonly ms: number }[];
  readonly texts: Readonly<Record<string, unknown>>;
}

/** One request, as it is watched. */
export interface RequestObserver {
  note(facts: RequestFacts): void;
  /** A stage begins; the one before it has ended. */
  stage(stage: Stage): void;
  /** Text of messages, and what a request says beside them; kept only where that is asked for. */
  text(of: "request" | "settings" | "answers", text: unknown): void;
  /** The first byte of the answer goes out. */
  begin(): void;
  end(end: RequestEnd): void;
}

/** Nothing of it may throw: watching must not harm. */
export interface Telemetry {
  observe(request: { readonly id: string; readonly method: string; readonly traceparent: string | undefined }): RequestObserver;
  /** In Prometheus's format. */
  metrics(): Promise<{ readonly contentType: string; readonly body: string }>;
}

declare module "hono" {
  interface ContextVariableMap {
    observer: RequestObserver;
  }
}

export interface ObserveDependencies {
  readonly telemetry: Telemetry;
  readonly newId: (prefix: string) => string;
  readonly clientAddress: (c: Context) => string | undefined;
}

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
    const end = {
      status: c.res.status,
      path: patternOf(c),
      ...(c.error && { error: renderError(c.error).body.error.code ?? "invalid_request" }),
    };
    const isStream = c.res.headers.get("content-type")?.startsWith("text/event-stream");
    if (!isStream || c.res.body === null) return observer.end(end);
    const done = (left: boolean): void => observer.end(left ? { ...end, status: 499, error: "request_cancelled" } : end);
    // Some runtimes cancel no stream whose reader has left, but say so here.
    c.req.raw.signal.addEventListener("abort", () => done(true));
    c.res = new Response(whenDone(c.res.body, done), c.res);
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

/** The same stream; says when it has been read to its end, or has been left. */
function whenDone(body: ReadableStream<Uint8Array>, done: (left: boolean) => void): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done: isDone, value } = await reader.read();
        if (!isDone) return controller.enqueue(value);
        done(false);
        controller.close();
      } catch (error) {
        done(true);
        controller.error(error);
      }
    },
    async cancel(reason) {
      done(true);
      await reader.cancel(reason);
    },
  });
}
