/** @module The app in a worker's isolate, with what it needs of the world. */
import type { Hono } from "hono";
import { createApp } from "../app.ts";
import type { AccessDependencies } from "../http/access.ts";
import { Admission } from "../http/admission.ts";
import { isFault } from "../http/errors.ts";
import { parseKeys } from "../http/keys.ts";
import { remoteEmbedder } from "../retrieval/remote-embedder.ts";
import type { EmbeddingModel } from "../retrieval/retriever.ts";
import { levelOf, lineOf } from "../telemetry/line.ts";
import { keepRecent } from "../telemetry/recent.ts";
import { recordAnswers } from "../telemetry/records.ts";
import { createTelemetry } from "../telemetry/telemetry.ts";
import { GatewayError } from "../types/error.ts";
import { type Bindings, variablesOf } from "./bindings.ts";
import { bundleText } from "./bundle.ts";
import { keptArtifacts, keptEmbeddings } from "./kept.ts";
import { WorkerPolicies } from "./policies.ts";
import { openRecords, type RecordsWorld } from "./records.ts";
import { readWorkerSettings, type WorkerSettings } from "./settings.ts";
import { usageLimiter } from "./usage.ts";

const pingMs = 5_000;
const embeddingTimeoutMs = 30_000;

export interface WorkerGateway {
  readonly app: Hono;
  /** Newer policies, if there are any. */
  readonly look: () => Promise<void>;
}

export interface GatewayWorld extends RecordsWorld {
  readonly builtIn: unknown;
  readonly log: (level: string, message: string, fields?: object) => void;
}

/** Throws "configuration", or what keeps the engines from answering. */
export async function openGateway(bindings: Bindings, world: GatewayWorld): Promise<WorkerGateway> {
  const variables = variablesOf(bindings);
  const settings = readWorkerSettings(variables);
  const { report } = world;
  const now = (): number => performance.now();
  const remote = { fetch: (...request: Parameters<typeof fetch>) => fetch(...request), now, log: report };
  const access = await accessOf(settings, bindings, report);
  const embedder = embedderOf(settings, bindings, remote);
  const policies = await WorkerPolicies.open({
    builtIn: world.builtIn,
    kept: bundleText(settings, bindings),
    engines: settings.ICDPO_ENGINES,
    variables,
    world: remote,
    reloadMs: settings.ICDPO_RELOAD_MS,
    embedder,
    artifacts: bindings.KEPT && keptArtifacts(bindings.KEPT, report),
  });
  const records = openRecords(settings, bindings, world);
  const recent = keepRecent();
  const logged = {
    record: (record: Parameters<typeof lineOf>[0]) => world.log(levelOf(record), "request", lineOf(record, settings.ICDPO_LOG_TEXT)),
  };
  const app = createApp({
    ...access,
    engineState: () => policies.engines.state(),
    admission: new Admission({ limit: settings.ICDPO_MAX_REQUESTS, now }),
    policies: () => policies.current,
    policyState: () => policies.state,
    embedder,
    records,
    telemetry: createTelemetry({
      recorders: [logged, recent, recordAnswers(records)],
      metrics: noMetrics,
      now: Date.now,
      onFailure: (error) => report(`telemetry: ${error}`),
    }),
    recentRequests: () => recent.requests,
    stageLimits: { retrieve: settings.ICDPO_RETRIEVE_TIMEOUT_MS, queue: settings.ICDPO_QUEUE_TIMEOUT_MS },
    /** Never fires: a worker ends with its requests. One for each of them, since no request may touch another's signal. */
    get shutdown() {
      return new AbortController().signal;
    },
    corsOrigins: settings.ICDPO_CORS_ORIGINS,
    allowedHosts: null,
    report: (error) =>
      isFault(error) && world.log("error", "fault", { error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    clientAddress: (c) => c.req.header("cf-connecting-ip"),
    newId: (prefix) =>
      prefix + Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join(""),
    randomSeed: () => crypto.getRandomValues(new Uint32Array(1))[0] as number,
    now,
    unixTime: () => Math.floor(Date.now() / 1000),
    deadline: () => AbortSignal.timeout(settings.ICDPO_TIMEOUT_MS),
    pingMs,
    maxAnswers: settings.ICDPO_MAX_N,
    maxBodyBytes: settings.ICDPO_MAX_BODY_BYTES,
    startedAt: Math.floor(Date.now() / 1000),
    version: policies.version,
  });
  return { app, look: () => policies.look() };
}

async function accessOf(settings: WorkerSettings, { USAGE }: Bindings, report: (line: string) => void): Promise<AccessDependencies> {
  const { ICDPO_KEYS: text, ICDPO_REQUESTS_PER_MINUTE: requestsPerMinute, ICDPO_TOKENS_PER_MINUTE: tokensPerMinute } = settings;
  const keys = await parseKeys(text === undefined ? null : { name: "ICDPO_KEYS", text }, settings.ICDPO_API_KEYS ?? "");
  const remedy = "Set the secret ICDPO_KEYS or ICDPO_API_KEYS (`icdpo keys new` makes a key), or ICDPO_ALLOW_ANONYMOUS=1 if that is meant.";
  if (keys.length === 0 && !settings.ICDPO_ALLOW_ANONYMOUS)
    throw new GatewayError("configuration", `Without API keys, everybody could use this gateway. ${remedy}`);
  const defaults = { requestsPerMinute, tokensPerMinute };
  const areLimited = [defaults, ...keys.map(({ limits }) => limits)].some((limits) => limits.requestsPerMinute ?? limits.tokensPerMinute);
  if (USAGE !== undefined) return { keys, limiter: usageLimiter(USAGE, defaults, report) };
  if (areLimited) throw new GatewayError("configuration", "Limits need the binding USAGE in wrangler.toml: isolates alone cannot count.");
  return { keys, limiter: { admit: async () => ({}), spend: async () => {} } };
}

function embedderOf(
  settings: WorkerSettings,
  { KEPT }: Bindings,
  world: Parameters<typeof remoteEmbedder>[1],
): () => Promise<EmbeddingModel> {
  const { ICDPO_EMBEDDING_URL: url, ICDPO_EMBEDDING_MODEL: model, ICDPO_EMBEDDING_KEY: apiKey } = settings;
  if (url === undefined || model === undefined) {
    const message = "Sentence embeddings need ICDPO_EMBEDDING_URL and ICDPO_EMBEDDING_MODEL: a server with OpenAI's POST /v1/embeddings.";
    return () => Promise.reject(new GatewayError("configuration", message));
  }
  const server = { urls: [url.replace(/\/+$/u, "")], model, apiKey, timeoutMs: embeddingTimeoutMs, retries: 0 };
  const embedder = remoteEmbedder(server, world, KEPT && keptEmbeddings(KEPT, world.log));
  return async () => embedder;
}

/** Isolates come and go, and nobody can ask them all. */
function noMetrics(): Promise<never> {
  const message = "A worker keeps no metrics. Its log has a line for each request, and the platform counts them.";
  return Promise.reject(new GatewayError("not_found", message));
}
