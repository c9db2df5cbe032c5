/** @module `icdpo serve`: the gateway over HTTP. */
import { randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import { createAdaptorServer, type ServerType } from "@hono/node-server";
import { createApp } from "../app.ts";
import { Admission } from "../http/admission.ts";
import { GatewayError } from "../types/error.ts";
import { readKeys } from "./keys.ts";
import type { EngineState, LlamaEngine } from "./llama/engine.ts";
import type { EngineLoad } from "./llama/protocol.ts";
import { MemoryRateLimiter } from "./rate-limit.ts";
import type { Report, Runtime } from "./runtime.ts";
import type { Settings } from "./settings.ts";

const pingMs = 5_000;
const loadReportMs = 1_000;

export interface RunningServer {
  /** `http://host:port` */
  readonly url: string;
  /** Stops taking requests, lets those under way finish within `graceMs`, then ends. */
  close(graceMs: number): Promise<void>;
}

/** Throws "configuration" where the address cannot be had. */
export async function serve(runtime: Runtime, settings: Settings, version: string, report: Report): Promise<RunningServer> {
  const keys = await readKeys(settings);
  const isLocal = isLoopback(settings.HOST);
  if (keys.length === 0 && !isLocal && !settings.ICDPO_ALLOW_ANONYMOUS) throw openToAll(settings.HOST);
  const now = (): number => performance.now();
  const app = createApp({
    engine: runtime.engine,
    admission: new Admission({ limit: settings.ICDPO_MAX_REQUESTS, now }),
    engineState: () => engineState(runtime.engine),
    policies: () => runtime.policies,
    embedder: runtime.embedder,
    keys,
    limiter: new MemoryRateLimiter({
      requestsPerMinute: settings.ICDPO_REQUESTS_PER_MINUTE,
      tokensPerMinute: settings.ICDPO_TOKENS_PER_MINUTE,
    }),
    corsOrigins: settings.ICDPO_CORS_ORIGINS,
    allowedHosts: keys.length === 0 && isLocal ? new Set([...loopbackNames, settings.HOST, ...settings.ICDPO_ALLOWED_HOSTS]) : null,
    report: (error) => report(`error: ${error instanceof Error ? (error.stack ?? error.message) : error}`),
    newId: (prefix) => prefix + randomBytes(12).toString("hex"),
    randomSeed: () => randomBytes(4).readUInt32LE(),
    now,
    unixTime: () => Math.floor(Date.now() / 1000),
    deadline: () => AbortSignal.timeout(settings.ICDPO_TIMEOUT_MS),
    pingMs,
    maxAnswers: settings.ICDPO_MAX_N,
    maxBodyBytes: settings.ICDPO_MAX_BODY_BYTES,
    startedAt: Math.floor(Date.now() / 1000),
    version,
  });
  const server = createAdaptorServer({ fetch: app.fetch, serverOptions: slowClientLimits(settings) });
  const address = await listen(server, settings.PORT, settings.HOST);
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return { url: `http://${host}:${address.port}`, close: (graceMs) => close(server, graceMs) };
}

const loopbackNames = ["localhost", "127.0.0.1", "[::1]", "::1"];

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(?:\.\d{1,3}){3}$/u.test(host);
}

function openToAll(host: string): GatewayError {
  const message = `Without API keys, everybody who reaches ${host} could use this gateway. Set ICDPO_KEYS_FILE or ICDPO_API_KEYS (\`icdpo keys new\` makes a key), or ICDPO_ALLOW_ANONYMOUS=1 if that is meant.`;
  return new GatewayError("configuration", message);
}

/** A client that sends slowly, or keeps a connection without using it, is cut off; proxies keep theirs for 60 s, so ours are kept longer. */
function slowClientLimits({ ICDPO_REQUEST_TIMEOUT_MS: requestTimeout }: Settings) {
  return {
    requestTimeout,
    headersTimeout: Math.min(15_000, requestTimeout),
    keepAliveTimeout: 75_000,
    connectionsCheckingInterval: 1_000,
    maxHeaderSize: 16_384,
  };
}

/** The engine's own account of its work. One that runs but does not answer is no longer ready. */
async function engineState(engine: LlamaEngine): Promise<Omit<EngineState, "status"> & { readonly status: string } & Partial<EngineLoad>> {
  if (engine.state.status !== "ready") return engine.state;
  try {
    return { ...engine.state, ...(await engine.load(AbortSignal.timeout(loadReportMs))) };
  } catch {
    return engine.state.status === "ready" ? { ...engine.state, status: "unresponsive" } : engine.state;
  }
}

function listen(server: ServerType, port: number, host: string): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const reason = error.code === "EADDRINUSE" ? "another program listens there; set PORT to another one" : error.message;
      reject(new GatewayError("configuration", `Cannot listen on ${host}:${port}: ${reason}.`, { cause: error }));
    });
    server.listen(port, host, () => resolve(server.address() as AddressInfo));
  });
}

async function close(server: ServerType, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  if ("closeIdleConnections" in server) server.closeIdleConnections();
  const timer = setTimeout(() => {
    if ("closeAllConnections" in server) server.closeAllConnections();
  }, graceMs);
  await closed;
  clearTimeout(timer);
}
