/**
 * @module Prometheus metrics. Labels are names from the gateway's own configuration, never a client's words, and never
 * a hash: an override makes a policy with an id of its own, and ids would be as many series as there are settings.
 */
import { collectDefaultMetrics, Registry } from "prom-client";
import type { EnginesState } from "../engine/engines.ts";
import type { RequestRecord } from "../gateway/observation.ts";
import type { StoreState } from "../records/record.ts";
import type { DoorState } from "./door-state.ts";
import { Instruments } from "./instruments.ts";
import type { Recorder } from "./telemetry.ts";

export interface MetricsSources {
  readonly engineState: () => Promise<EnginesState>;
  /** Requests under way or waiting. */
  readonly admitted: () => number;
  readonly records: () => StoreState;
  readonly doors: () => DoorState;
  /** Bytes of requests' bodies that are held, and bodies that there was no room for. */
  readonly bodies: () => { readonly held: number; readonly refused: number };
}

export interface Metrics extends Recorder {
  readonly logLinesDropped: () => void;
  readonly telemetryFailed: () => void;
  /** Tokens were charged to a key's limit. */
  readonly charged: (key: string, tokens: number) => void;
  render(): Promise<{ contentType: string; body: string }>;
}

const seconds = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300];
const shares = [0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1];
const counts = [1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 64];
const nats = [-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50];

export function createMetrics(sources: MetricsSources): Metrics {
  const registry = new Registry();
  const instruments = new Instruments(registry);
  collectDefaultMetrics({ register: registry });
  const record = requestMetrics(instruments);
  const looks = [engineMetrics, connectionMetrics, recordMetrics].map((metrics) => metrics(instruments, sources));
  const { counter } = instruments;
  const charges = counter(
    "charged_tokens_total",
    "Tokens that were counted against a key's limit: fed and not cached, sampled, scored",
    ["key"],
  );
  const dropped = counter("log_lines_dropped_total", "Times that the log could not be written");
  const failures = counter("telemetry_errors_total", "Times that telemetry itself failed");
  return {
    logLinesDropped: () => dropped.inc(),
    telemetryFailed: () => failures.inc(),
    charged: (key, count) => charges.inc({ key }, count),
    record,
    async render() {
      for (const look of looks) await look();
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}

/** What is counted of each request when it is over. */
function requestMetrics(instruments: Instruments): (record: RequestRecord) => void {
  const { counter, histogram } = instruments;
  const ofAnswer = answerMetrics(instruments);
  const requests = counter("requests_total", "Requests that are over", ["route", "method", "path", "status"]);
  const errors = counter("errors_total", "Requests that ended in an error, by OpenAI's code", ["route", "code"]);
  const at = ["route", "path"];
  const durations = histogram(
    "request_duration_seconds",
    "From a request's arrival to its answer's last byte",
    at,
    seconds,
  );
  const firstBytes = histogram(
    "time_to_first_byte_seconds",
    "From a request's arrival to its answer's first byte",
    at,
    seconds,
  );
  const stages = histogram(
    "stage_duration_seconds",
    "Retrieving, waiting for the model, feeding it the prompt, sampling, scoring what is left",
    ["route", "stage"],
    seconds,
  );
  const tokens = counter(
    "tokens_total",
    "Tokens: prompt and completion as usage counts them; fed, sampled, scored and cached by the engine",
    ["route", "kind"],
  );
  const fallbacks = counter("fallbacks_total", "Answers that were produced otherwise than the policy says", [
    "route",
    "reason",
  ]);
  return (record) => {
    const { route = "none", path, method, status } = record;
    requests.inc({ route, method: knownMethod(method), path, status });
    durations.observe({ route, path }, record.ms / 1000);
    if (record.firstByteMs !== undefined) firstBytes.observe({ route, path }, record.firstByteMs / 1000);
    if (record.error !== undefined) errors.inc({ route, code: record.error });
    for (const { stage, ms } of record.stages) stages.observe({ route, stage }, ms / 1000);
    const { promptTokens = 0, completionTokens = 0, work } = record;
    for (const [kind, count] of Object.entries({
      usage_prompt: promptTokens,
      usage_completion: completionTokens,
      ...work,
    }))
      tokens.inc({ route, kind }, count);
    ofAnswer(record);
    if (record.fallback !== undefined) fallbacks.inc({ route, reason: record.fallback.split(":")[0] as string });
  };
}

/** What is counted of the best answer, by its policy. */
function answerMetrics({ gauge, histogram }: Instruments): (record: RequestRecord) => void {
  const scores = histogram(
    "score_nats",
    "Scores of chosen candidates, by the policy's name; of reward alone, in its own units",
    ["policy"],
    nats,
  );
  const margins = histogram(
    "score_margin_nats",
    "Lead of the chosen candidate over the next, by the policy's name",
    ["policy"],
    nats,
  );
  const copies = histogram(
    "copied_share",
    "Share of an answer's 5-grams that are a shown demonstration's, by the policy's name",
    ["policy"],
    shares,
  );
  const rates = gauge(
    "nats_per_token",
    "What scores are less for each token, of the last answer, by the name of a policy that normalises by length",
    ["policy"],
  );
  const candidates = histogram(
    "candidates",
    "Candidates that an answer was chosen among, or was one of, by the policy's name",
    ["policy"],
    counts,
  );
  return ({ policy, error, candidates: sampled, score, margin, copied, natsPerToken }) => {
    if (policy === undefined) return;
    const named = { policy: nameOf(policy) };
    if (sampled !== undefined && error === undefined) candidates.observe(named, sampled);
    if (score !== undefined) scores.observe(named, score);
    if (margin !== undefined) margins.observe(named, margin);
    if (copied !== undefined) copies.observe(named, copied);
    if (natsPerToken !== undefined) rates.set(named, natsPerToken);
  };
}

/** Looked at when the metrics are asked for, as the two below. */
function engineMetrics(
  { gauge, follower }: Instruments,
  { engineState, admitted }: MetricsSources,
): () => Promise<void> {
  const inFlight = gauge("requests_in_flight", "Requests under way or waiting");
  const ready = gauge("engine_ready", "1: the engine can answer");
  const restarts = follower("engine_restarts_total", "Times that the engine's process was started again");
  const active = gauge("engine_tasks_active", "Tasks in the engine's steps");
  const waiting = gauge("engine_tasks_waiting", "Tasks that wait for sequences");
  const free = gauge("engine_sequences_free", "Sequences that no task uses");
  const threads = gauge("engine_threads", "Threads of an embedded engine's steps", ["engine"]);
  return async () => {
    const state = await engineState();
    inFlight.set(admitted());
    ready.set(state.status === "ready" ? 1 : 0);
    restarts(state.restarts);
    active.set(state.active ?? 0);
    waiting.set(state.waiting ?? 0);
    free.set(state.freeSequences ?? 0);
    threads.reset();
    for (const [engine, each] of Object.entries(state.engines))
      if (each.threads !== undefined) threads.set({ engine }, each.threads);
  };
}

function connectionMetrics({ gauge, follower }: Instruments, { doors, bodies }: MetricsSources): () => void {
  const connections = gauge("connections_open", "Connections that are open");
  const refusedForAll = follower("connections_refused_total", "Connections beyond ICDPO_MAX_CONNECTIONS");
  const refusedForAddress = follower(
    "connections_refused_of_address_total",
    "Connections beyond ICDPO_MAX_CONNECTIONS_PER_ADDRESS",
  );
  const unread = gauge("answers_unread_characters", "Characters of whole answers that wait for their readers");
  const cut = follower("answers_cut_total", "Whole answers that were given up, because their readers took too long");
  const bodiesHeld = gauge("bodies_held_bytes", "Bytes of requests' bodies that are read or worked on");
  const bodiesRefused = follower("bodies_refused_total", "Bodies that ICDPO_MAX_BODIES_BYTES had no room for");
  return () => {
    const { open, refused, waiting, cut: cutSoFar } = doors();
    connections.set(open);
    refusedForAll(refused.all);
    refusedForAddress(refused.address);
    unread.set(waiting);
    cut(cutSoFar);
    bodiesHeld.set(bodies().held);
    bodiesRefused(bodies().refused);
  };
}

function recordMetrics({ gauge, follower }: Instruments, { records }: MetricsSources): () => void {
  const waiting = gauge("records_waiting", "Records that wait to be written");
  const lost = follower("records_lost_total", "Records that were given up, because too many waited");
  const written = follower("records_written_total", "Records that were put on the disk");
  return () => {
    const state = records();
    waiting.set(state.waiting);
    lost(state.lost);
    written(state.written);
  };
}

/** Of `everyday@1a2b…`. */
function nameOf(policy: string): string {
  return policy.split("@", 1)[0] as string;
}

function knownMethod(method: string): string {
  return ["GET", "POST", "OPTIONS", "HEAD"].includes(method) ? method : "other";
}
