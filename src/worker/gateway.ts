/** @module The app in a worker's isolate, with what it needs of the world. */
import type { Hono } from "hono";
import type { AccessDependencies, KeyLimits } from "../access/access.ts";
import { parseKeys } from "../access/api-keys.ts";
import { KeyLimiter, noLimits } from "../access/key-limits.ts";
import { Sessions } from "../access/sessions.ts";
import { createApp } from "../app.ts";
import { fetchUnmoved } from "../client/redirect.ts";
import { Admission } from "../gateway/admission.ts";
import { BodyRoom } from "../gateway/body-room.ts";
import { isFault } from "../gateway/errors.ts";
import type { RecordsWorld } from "../records/isolate-records.ts";
import type { RecordStore } from "../records/record.ts";
import { keptArtifacts, keptEmbeddings } from "../retrieval/kv-artifacts.ts";
import { remoteEmbedder } from "../retrieval/remote-embedder.ts";
import type { EmbeddingModel } from "../retrieval/retriever.ts";
import { recordAnswers } from "../telemetry/answer-records.ts";
import { levelOf, lineOf } from "../telemetry/line.ts";
import { keepRecent } from "../telemetry/recent.ts";
import { createTelemetry, type Recorder } from "../telemetry/telemetry.ts";
import { GatewayError } from "../types/error.ts";
import { type Bindings, variablesOf } from "./bindings.ts";
import { bundleText } from "./bundle.ts";
import { WorkerPolicies } from "./isolate-policies.ts";
import { usageCounts } from "./key-usage.ts";
import { openRecords } from "./open-records.ts";
import { readWorkerSettings, type WorkerSettings } from "./variables.ts";

const pingMs = 5_000;
const readerMs = 60_000;
const embeddingTimeoutMs = 30_000;
/** What ends has a moment to say so. */
const farewellMs = 60_000;

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
  const settings = readWorkerSettings(variablesOf(bindings));
  const { report } = world;
  const access = await accessOf(settings, bindings, report);
  const words = settings.ICDPO_LOG_TEXT ? (line: string): void => world.log("debug", line) : undefined;
  const remote = { fetch: fetchUnmoved, now, log: report, words };
  const embedder = embedderOf(settings, bindings, remote);
  const policies = await WorkerPolicies.open({
    builtIn: world.builtIn,
    kept: bundleText(settings, bindings),
    engines: settings.ICDPO_ENGINES,
    variables: variablesOf(bindings),
    world: remote,
    reloadMs: settings.ICDPO_RELOAD_MS,
    embedder,
    artifacts: bindings.KEPT && keptArtifacts(bindings.KEPT, report),
    background: world.waitUntil,
  });
  const records = openRecords(settings, bindings, world);
  const app = createApp({
    ...clockAndChance,
    ...limitsOf(settings),
    ...access,
    ...telemetryOf(settings, world, records),
    /**
     * Never fires: a worker ends with its requests. One for each of them, since no request may touch another's signal.
     */
    get shutdown() {
      return new AbortController().signal;
    },
    engineState: () => policies.engines.state(),
    rewardStates: () => policies.rewards.state(),
    isolated: true,
    policies: () => policies.current,
    policyState: () => policies.state,
    tenantUnit: settings.ICDPO_TENANT,
    embedder,
    reasoningWord: settings.ICDPO_REASONING_FIELD,
    userHeaders: { names: settings.ICDPO_USER_HEADERS, areTrusted: settings.ICDPO_TRUST_PROXY },
    tell: report,
    embeddingAliases: new Set(settings.ICDPO_EMBEDDING_ALIASES),
    sessions: await sessionsOf(settings),
    records,
    corsOrigins: settings.ICDPO_CORS_ORIGINS,
    allowedHosts: null,
    clientAddress: (c) => c.req.header("cf-connecting-ip"),
    pingMs,
    readerMs,
    startedAt: clockAndChance.unixTime(),
    version: policies.version,
  });
  return { app, look: () => policies.look() };
}

function now(): number {
  return performance.now();
}

const clockAndChance = {
  newId: (prefix: string) =>
    prefix +
    Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join(""),
  randomSeed: () => crypto.getRandomValues(new Uint32Array(1))[0] as number,
  now,
  unixTime: () => Math.floor(Date.now() / 1000),
};

function limitsOf(settings: WorkerSettings) {
  return {
    admission: new Admission({ limit: settings.ICDPO_MAX_REQUESTS, now }),
    stageLimits: {
      retrieve: settings.ICDPO_RETRIEVE_TIMEOUT_MS,
      queue: settings.ICDPO_QUEUE_TIMEOUT_MS,
      prefill: settings.ICDPO_PREFILL_TIMEOUT_MS,
    },
    deadline: () => AbortSignal.timeout(settings.ICDPO_TIMEOUT_MS),
    maxAnswers: settings.ICDPO_MAX_N,
    maxBodyBytes: settings.ICDPO_MAX_BODY_BYTES,
    // Requests wait for nothing of each other's.
    turn: async () => {},
    bodyRoom: new BodyRoom(Math.max(settings.ICDPO_MAX_BODIES_BYTES, 2 * settings.ICDPO_MAX_BODY_BYTES)),
  };
}

function telemetryOf(
  { ICDPO_LOG_TEXT: withText }: WorkerSettings,
  { log, report }: GatewayWorld,
  records: RecordStore,
) {
  const recent = keepRecent();
  const logged: Recorder = { record: (record) => log(levelOf(record), "request", lineOf(record, withText)) };
  const recorders = [logged, recent, recordAnswers(records)];
  return {
    telemetry: createTelemetry({
      recorders,
      metrics: noMetrics,
      now: Date.now,
      onFailure: (error) => report(`telemetry: ${error}`),
    }),
    recentRequests: () => recent.requests,
    report: (error: unknown) => {
      if (isFault(error))
        log("error", "fault", { error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    },
  };
}

async function accessOf(
  settings: WorkerSettings,
  { USAGE }: Bindings,
  report: (line: string) => void,
): Promise<AccessDependencies> {
  const {
    ICDPO_KEYS: text,
    ICDPO_REQUESTS_PER_MINUTE: requestsPerMinute,
    ICDPO_TOKENS_PER_MINUTE: tokensPerMinute,
    ICDPO_PARALLEL: parallel,
  } = settings;
  const keys = await parseKeys({
    file: text === undefined ? null : { name: "ICDPO_KEYS", text },
    variable: settings.ICDPO_API_KEYS ?? "",
    admins: settings.ICDPO_ADMIN_KEYS ?? "",
  });
  const access = { keys: () => keys, isLocal: false };
  const remedy =
    "Set the secret ICDPO_KEYS or ICDPO_API_KEYS (`icdpo keys new` makes a key), or ICDPO_ALLOW_ANONYMOUS=1 if that is meant.";
  if (keys === null && !settings.ICDPO_ALLOW_ANONYMOUS)
    throw new GatewayError("configuration", `Without API keys, everybody could use this gateway. ${remedy}`);
  const defaults: KeyLimits = { requestsPerMinute, tokensPerMinute, parallel };
  const areLimited = [defaults, ...(keys ?? []).map(({ limits }) => limits)].some(
    (limits) => limits.requestsPerMinute ?? limits.tokensPerMinute ?? limits.parallel,
  );
  if (USAGE !== undefined) {
    const counts = usageCounts(USAGE, settings.ICDPO_TIMEOUT_MS + farewellMs, report);
    return { ...access, limiter: new KeyLimiter(counts, defaults, () => clockAndChance.newId("")) };
  }
  if (areLimited)
    throw new GatewayError(
      "configuration",
      "Limits need the binding USAGE in wrangler.toml: isolates alone cannot count.",
    );
  return { ...access, limiter: noLimits };
}

/**
 * Isolates share nothing but their settings: without a secret among these the keys are one, which only who deploys the
 * worker has all of.
 */
async function sessionsOf({
  ICDPO_SESSION_SECRET: secret,
  ICDPO_KEYS,
  ICDPO_API_KEYS,
  ICDPO_ADMIN_KEYS,
}: WorkerSettings): Promise<Sessions> {
  const text = new TextEncoder().encode(secret ?? JSON.stringify([ICDPO_KEYS, ICDPO_API_KEYS, ICDPO_ADMIN_KEYS]));
  return new Sessions({
    secret: new Uint8Array(await crypto.subtle.digest("SHA-256", text)),
    unixTime: clockAndChance.unixTime,
  });
}

function embedderOf(
  settings: WorkerSettings,
  { KEPT }: Bindings,
  world: Parameters<typeof remoteEmbedder>[1],
): () => Promise<EmbeddingModel> {
  const { ICDPO_EMBEDDING_URL: url, ICDPO_EMBEDDING_MODEL: model, ICDPO_EMBEDDING_KEY: apiKey } = settings;
  if (url === undefined || model === undefined) {
    const message =
      "Sentence embeddings need ICDPO_EMBEDDING_URL and ICDPO_EMBEDDING_MODEL: a server with OpenAI's POST /v1/embeddings.";
    return () => Promise.reject(new GatewayError("configuration", message));
  }
  const server = {
    name: "embeddings",
    urls: [url.replace(/\/+$/u, "")],
    model,
    apiKey,
    timeoutMs: embeddingTimeoutMs,
    retries: 0,
  };
  const embedder = remoteEmbedder(server, world, KEPT && keptEmbeddings(KEPT, world.log));
  return async () => embedder;
}

/** Isolates come and go, and nobody can ask them all. */
function noMetrics(): Promise<never> {
  const message = "A worker keeps no metrics. Its log has a line for each request, and the platform counts them.";
  return Promise.reject(new GatewayError("not_found", message));
}
