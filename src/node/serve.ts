/** @module `icdpo serve`: the gateway over HTTP. */
import { randomInt, randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";
import type { RateLimiter } from "../access/access.ts";
import { Sessions } from "../access/sessions.ts";
import { createApp } from "../app.ts";
import { inTime } from "../async/pause.ts";
import { Admission, shuttingDown } from "../gateway/admission.ts";
import { BodyRoom } from "../gateway/body-room.ts";
import { remembered } from "../http/endpoints/health.ts";
import { noStore } from "../records/no-records.ts";
import type { RecordStore } from "../records/record.ts";
import { ThreadedStore } from "../records/thread/threaded-records.ts";
import type { Report } from "../types/operator.ts";
import { Doors } from "./doors.ts";
import { clientAddress, listen } from "./http-server.ts";
import { type Access, sessionSecret } from "./open-access.ts";
import { openTelemetry } from "./open-telemetry.ts";
import type { Runtime } from "./runtime.ts";
import type { Settings } from "./settings.ts";
import { turns } from "./turns.ts";

const pingMs = 5_000;
const readerMs = 60_000;
/** Requests that begin within so long share a deadline. */
const sharedMs = 100;
/** Hexadecimal digits. */
const idLength = 24;
/** After the gateway has stopped waiting, streams have so long to say so. */
const farewellMs = 2_000;

export interface RunningServer {
  /** `http://host:port` */
  readonly url: string;
  /** Refuses new requests, lets those under way finish for `ICDPO_DRAIN_MS`, then ends them and the server. */
  close(): Promise<void>;
}

const clockAndChance = {
  now: (): number => performance.now(),
  unixTime: (): number => Math.floor(Date.now() / 1000),
  // Both draw from randomness that Node has at hand; each call of randomBytes asks the system.
  newId: (prefix: string): string => prefix + randomUUID().replaceAll("-", "").slice(-idLength),
  randomSeed: (): number => randomInt(2 ** 32),
};

/** As many calls as one request may have under way, each of which listens to its signal; Node warns of more than 10. */
const mostListeners = 1_000;

/** Throws "configuration" where the address cannot be had. */
export async function serve(
  runtime: Runtime,
  settings: Settings,
  access: Access,
  version: string,
  report: Report,
): Promise<RunningServer> {
  const { now, unixTime } = clockAndChance;
  setMaxListeners(mostListeners);
  const admission = new Admission({ limit: settings.ICDPO_MAX_REQUESTS, now });
  const bodyRoom = new BodyRoom(settings.bodiesBytes);
  const doors = new Doors(settings, readerMs);
  const states = statesOf(runtime);
  const records = openRecords(settings, report);
  const sources = {
    engineState: remembered(states.engineState, now),
    admitted: () => admission.admitted,
    records: () => records.state(),
    doors: () => doors.state,
    bodies: () => bodyRoom,
  };
  const telemetry = await openTelemetry(settings, version, sources, records, report);
  const shutdown = new AbortController();
  setMaxListeners(0, shutdown.signal); // every request under way is one
  const app = createApp({
    ...access,
    ...clockAndChance,
    ...fromSettings(settings, report),
    limiter: telling(access.limiter, telemetry.charged),
    admission,
    ...states,
    policies: () => runtime.policies.current,
    policyState: () => runtime.policies.state,
    keysState: () => access.ring.state,
    embedder: runtime.embedder,
    records,
    telemetry: telemetry.telemetry,
    recentRequests: telemetry.recent,
    shutdown: shutdown.signal,
    report: telemetry.reportError,
    sessions: new Sessions({ secret: sessionSecret(settings), unixTime }),
    deadline: sharedDeadlines(settings.ICDPO_TIMEOUT_MS, now),
    pingMs,
    readerMs,
    bodyRoom,
    turn: turns(),
    startedAt: unixTime(),
    version,
  });
  const server = await listen(app.fetch, settings, doors);
  const drain = async (): Promise<void> => {
    // The port stays open meanwhile: who comes is told 503, and when to come back.
    const ended = admission.close().then(() => server.close());
    const done = ended.then(() => true);
    const isDone = await inTime(done, settings.ICDPO_DRAIN_MS, () => false);
    if (isDone) return;
    report(
      `${admission.admitted} requests did not finish within ICDPO_DRAIN_MS (${settings.ICDPO_DRAIN_MS} ms); ending them`,
    );
    shutdown.abort(shuttingDown());
    await inTime(ended, farewellMs, () => {});
    void server.close();
    server.closeAll();
  };
  return {
    url: server.url,
    async close() {
      await drain();
      await telemetry.close();
      if (records instanceof ThreadedStore) await records.close();
      access.close();
    },
  };
}

/** For /health and /ready. */
function statesOf({ engines, rewardPool }: Runtime) {
  return { engineState: () => engines.state(), rewardStates: () => rewardPool.state() };
}

/** What the app is told as it was set. */
function fromSettings(settings: Settings, report: Report) {
  return {
    tell: report,
    tenantUnit: settings.ICDPO_TENANT,
    reasoningWord: settings.ICDPO_REASONING_FIELD,
    userHeaders: { names: settings.ICDPO_USER_HEADERS, areTrusted: settings.ICDPO_TRUST_PROXY },
    embeddingAliases: new Set(settings.ICDPO_EMBEDDING_ALIASES),
    clientAddress: clientAddress(settings.ICDPO_TRUST_PROXY),
    maxAnswers: settings.ICDPO_MAX_N,
    maxBodyBytes: settings.ICDPO_MAX_BODY_BYTES,
    stageLimits: {
      retrieve: settings.ICDPO_RETRIEVE_TIMEOUT_MS,
      queue: settings.ICDPO_QUEUE_TIMEOUT_MS,
      prefill: settings.ICDPO_PREFILL_TIMEOUT_MS,
    },
  };
}

/**
 * Requests that begin at about the same time share a deadline, which is never too early: a timer for each costs a tenth
 * of a short request.
 */
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
        get tokens() {
          return reservation.tokens;
        },
        extend: (tokens) => reservation.extend(tokens),
        async settle(tokens) {
          await reservation.settle(tokens);
          if (caller !== null) charged(caller.name, tokens);
        },
      };
    },
  };
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
