/** @module `icdpo serve`: the gateway over HTTP. */
import { randomBytes, randomInt, randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";
import { hostname } from "node:os";
import type { AccessDependencies, RateLimiter } from "../access/access.ts";
import type { BrowserSettings } from "../access/browsers.ts";
import { KeyLimiter } from "../access/key-limits.ts";
import { KeyRing } from "../access/keys-file.ts";
import { MemoryCounts } from "../access/minute-counts.ts";
import { Sessions } from "../access/sessions.ts";
import { SharedCounts } from "../access/shared-counts.ts";
import { createApp } from "../app.ts";
import { Admission, shuttingDown } from "../gateway/admission.ts";
import { BodyRoom } from "../gateway/body-room.ts";
import { isFault } from "../gateway/errors.ts";
import { remembered } from "../http/endpoints/health.ts";
import { noStore } from "../records/no-records.ts";
import type { RecordStore } from "../records/record.ts";
import { ThreadedStore } from "../records/thread/threaded-records.ts";
import { recordAnswers } from "../telemetry/answer-records.ts";
import { openLog } from "../telemetry/log.ts";
import { createMetrics, type MetricsSources } from "../telemetry/prometheus.ts";
import { keepRecent } from "../telemetry/recent.ts";
import { createTelemetry } from "../telemetry/telemetry.ts";
import { openTraces } from "../telemetry/traces.ts";
import { GatewayError } from "../types/error.ts";
import type { Report } from "../types/operator.ts";
import { Doors } from "./doors.ts";
import { clientAddress, isLoopback, listen, loopbackNames } from "./http-server.ts";
import type { Runtime } from "./runtime.ts";
import type { Settings } from "./settings.ts";
import { turns } from "./turns.ts";

const pingMs = 5_000;
const readerMs = 60_000;
/** Requests that begin within so long share a deadline. */
const sharedMs = 100;
/** Hexadecimal digits. */
const idLength = 24;
const secretBytes = 32;
/** After the gateway has stopped waiting, streams have so long to say so. */
const farewellMs = 2_000;
/** A request that has taken too long has so long to end. */
const slackMs = 60_000;

/** Who may come, from where. */
export type Access = AccessDependencies & BrowserSettings & { readonly ring: KeyRing; readonly close: () => void };

export interface RunningServer {
  /** `http://host:port` */
  readonly url: string;
  /** Refuses new requests, lets those under way finish for `ICDPO_DRAIN_MS`, then ends them and the server. */
  close(): Promise<void>;
}

/** Throws "configuration" where the address cannot be had. */
export async function serve(runtime: Runtime, settings: Settings, access: Access, version: string, report: Report): Promise<RunningServer> {
  const now = (): number => performance.now();
  const unixTime = (): number => Math.floor(Date.now() / 1000);
  const admission = new Admission({ limit: settings.ICDPO_MAX_REQUESTS, now });
  const bodyRoom = new BodyRoom(settings.bodiesBytes);
  const doors = new Doors(settings, readerMs);
  const state = () => runtime.engines.state();
  const records = openRecords(settings, report);
  const telemetry = await openTelemetry(
    settings,
    version,
    {
      engineState: remembered(state, now),
      admitted: () => admission.admitted,
      records: () => records.state(),
      doors: () => doors.state,
      bodies: () => bodyRoom,
    },
    records,
    report,
  );
  const shutdown = new AbortController();
  setMaxListeners(0, shutdown.signal); // every request under way is one
  const app = createApp({
    ...access,
    limiter: telling(access.limiter, telemetry.charged),
    admission,
    engineState: state,
    policies: () => runtime.policies.current,
    policyState: () => runtime.policies.state,
    keysState: () => access.ring.state,
    tenantUnit: settings.ICDPO_TENANT,
    embedder: runtime.embedder,
    records,
    telemetry: telemetry.telemetry,
    recentRequests: telemetry.recent,
    stageLimits: {
      retrieve: settings.ICDPO_RETRIEVE_TIMEOUT_MS,
      queue: settings.ICDPO_QUEUE_TIMEOUT_MS,
      prefill: settings.ICDPO_PREFILL_TIMEOUT_MS,
    },
    shutdown: shutdown.signal,
    report: telemetry.reportError,
    clientAddress: clientAddress(settings.ICDPO_TRUST_PROXY),
    // Both draw from randomness that Node has at hand; each call of randomBytes asks the system.
    newId: (prefix) => prefix + randomUUID().replaceAll("-", "").slice(-idLength),
    randomSeed: () => randomInt(2 ** 32),
    now,
    unixTime,
    sessions: new Sessions({ secret: sessionSecret(settings), unixTime }),
    deadline: sharedDeadlines(settings.ICDPO_TIMEOUT_MS, now),
    pingMs,
    readerMs,
    maxAnswers: settings.ICDPO_MAX_N,
    maxBodyBytes: settings.ICDPO_MAX_BODY_BYTES,
    bodyRoom,
    turn: turns(),
    startedAt: unixTime(),
    version,
  });
  const server = await listen(app.fetch, settings, doors);
  return {
    url: server.url,
    async close() {
      // The port stays open meanwhile: who comes is told 503, and when to come back.
      const ended = admission.close().then(() => server.close());
      const isDone = await Promise.race([ended.then(() => true), pause(settings.ICDPO_DRAIN_MS).then(() => false)]);
      if (!isDone) {
        report(`${admission.admitted} requests did not finish within ICDPO_DRAIN_MS (${settings.ICDPO_DRAIN_MS} ms); ending them`);
        shutdown.abort(shuttingDown());
        await Promise.race([ended, pause(farewellMs)]);
        void server.close();
        server.closeAll();
      }
      await telemetry.close();
      if (records instanceof ThreadedStore) await records.close();
      access.close();
    },
  };
}

/** Requests that begin at about the same time share a deadline, which is never too early: a timer for each costs a tenth of a short request. */
function sharedDeadlines(ms: number, now: () => number): () => AbortSignal {
  let shared: { readonly since: number; readonly signal: AbortSignal } | undefined;
  return () => {
    if (shared === undefined || now() - shared.since >= sharedMs) {
      shared = { since: now(), signal: AbortSignal.timeout(ms + sharedMs) };
      setMaxListeners(0, shared.signal);
    }
    return shared.signal;
  };
}

/** The same limits; what is charged is told as well, once it has been. */
function telling(limiter: RateLimiter, charged: (key: string, tokens: number) => void): RateLimiter {
  return {
    admit: (caller) => limiter.admit(caller),
    async reserve(caller, ...demand) {
      const reservation = await limiter.reserve(caller, ...demand);
      return {
        async settle(tokens) {
          await reservation.settle(tokens);
          if (caller !== null) charged(caller.name, tokens);
        },
      };
    },
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}

/** Throws "configuration" where the keys or the limits cannot be had, or where there are no keys and strangers could come. */
export async function readAccess(settings: Settings, report: Report): Promise<Access> {
  const { HOST: host } = settings;
  const ring = await KeyRing.open(settings, report);
  // Whoever began with keys is never open later on, whatever becomes of their file.
  const isOpen = ring.keys === null;
  if (isOpen && !isLoopback(host) && !settings.ICDPO_ALLOW_ANONYMOUS) throw openToAll(host);
  return {
    ring,
    keys: () => ring.keys,
    // Whoever stands behind a proxy comes from somewhere else.
    isLocal: isLoopback(host) && !settings.ICDPO_TRUST_PROXY,
    ...(await openLimits(settings, report)),
    corsOrigins: settings.ICDPO_CORS_ORIGINS,
    allowedHosts: allowedHosts(settings, isOpen),
  };
}

/** Without keys, wherever it listens: another site's page must not become its own page by a name. With keys only where names are given: such a page has none. */
function allowedHosts({ HOST: host, ICDPO_ALLOWED_HOSTS: given }: Settings, isOpen: boolean): ReadonlySet<string> | null {
  if (given.includes("*") || (!isOpen && given.length === 0)) return null;
  return new Set([...loopbackNames, host, ...(isLoopback(host) ? [] : [hostname()]), ...given]);
}

function sessionSecret({ ICDPO_SESSION_SECRET: given }: Settings): Uint8Array<ArrayBuffer> {
  return new Uint8Array(given === undefined ? randomBytes(secretBytes) : Buffer.from(given));
}

async function openLimits(settings: Settings, report: Report): Promise<Pick<Access, "limiter" | "close">> {
  const { ICDPO_REQUESTS_PER_MINUTE: requestsPerMinute, ICDPO_TOKENS_PER_MINUTE: tokensPerMinute, ICDPO_PARALLEL: parallel } = settings;
  const defaults = { requestsPerMinute, tokensPerMinute, parallel };
  const { limitsUrl: url, ICDPO_LIMITS_TOKEN: authToken, ICDPO_TIMEOUT_MS: timeoutMs } = settings;
  if (url === null) return { limiter: new KeyLimiter(new MemoryCounts(), defaults, randomUUID), close: () => {} };
  const counts = await SharedCounts.open({ url, authToken, longestMs: timeoutMs + slackMs, report }).catch((error: Error) => {
    throw new GatewayError("configuration", `ICDPO_LIMITS cannot be opened: ${error.message}`, { cause: error });
  });
  return { limiter: new KeyLimiter(counts, defaults, randomUUID), close: () => counts.close() };
}

function openToAll(host: string): GatewayError {
  const remedy = "Set ICDPO_KEYS_FILE or ICDPO_API_KEYS (`icdpo keys new` makes a key), or ICDPO_ALLOW_ANONYMOUS=1 if that is meant.";
  return new GatewayError("configuration", `Without API keys, everybody who reaches ${host} could use this gateway. ${remedy}`);
}

function openRecords(settings: Settings, report: Report): RecordStore {
  const { databaseUrl: url, ICDPO_DATABASE_TOKEN: authToken } = settings;
  if (url === null) return noStore;
  return new ThreadedStore({
    url,
    authToken,
    keepsText: settings.ICDPO_KEEP_TEXT,
    textDays: settings.ICDPO_TEXT_DAYS,
    recordDays: settings.ICDPO_RECORD_DAYS,
    feedbackDays: settings.ICDPO_FEEDBACK_DAYS,
    report,
  });
}

async function openTelemetry(settings: Settings, version: string, sources: MetricsSources, records: RecordStore, report: Report) {
  const metrics = createMetrics(sources);
  let isReported = false;
  const onDropped = (): void => {
    metrics.logLinesDropped();
    if (!isReported) report("The log cannot be written; its lines are lost (icdpo_log_lines_dropped_total counts them).");
    isReported = true;
  };
  const log = openLog({ level: settings.ICDPO_LOG_LEVEL, file: settings.ICDPO_LOG_FILE, text: settings.ICDPO_LOG_TEXT, onDropped });
  const traces = await openTraces(process.env, version);
  if (settings.ICDPO_LOG_FILE !== undefined) process.on("SIGHUP", log.reopen);
  const recent = keepRecent();
  const recorders = [log, recent, metrics, recordAnswers(records), ...(traces === null ? [] : [traces])];
  const onFailure = (error: unknown): void => {
    metrics.telemetryFailed();
    report(`telemetry: ${error}`);
  };
  return {
    telemetry: createTelemetry({ recorders, metrics: () => metrics.render(), now: Date.now, onFailure }),
    recent: () => recent.requests,
    charged: metrics.charged,
    // Only faults of the gateway's own need a stack; a client's leave-taking is no error.
    reportError: (error: unknown) => isFault(error) && log.logger.error({ err: error }, "fault"),
    async close() {
      process.off("SIGHUP", log.reopen);
      await traces?.close();
      await log.close();
    },
  };
}
