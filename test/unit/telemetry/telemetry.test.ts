import { existsSync } from "node:fs";
import { mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { Admission } from "../../../src/gateway/admission.ts";
import type { RequestRecord } from "../../../src/gateway/observation.ts";
import { levelOf } from "../../../src/telemetry/line.ts";
import { openLog } from "../../../src/telemetry/log.ts";
import { createMetrics } from "../../../src/telemetry/prometheus.ts";
import { createTelemetry, type Recorder } from "../../../src/telemetry/telemetry.ts";
import { openTraces } from "../../../src/telemetry/traces.ts";
import { gate } from "../scripted-engine.ts";
import { gateway, readStream } from "../scripted-gateway.ts";

/** An app whose requests' records are kept. */
async function watched(
  overrides: Parameters<typeof gateway>[0] = {},
  more: readonly Recorder[] = [],
  failures: unknown[] = [],
) {
  const records: RequestRecord[] = [];
  const telemetry = createTelemetry({
    recorders: [...more, { record: (record) => records.push(record) }],
    metrics: async () => ({ contentType: "text/plain", body: "" }),
    now: () => 0,
    onFailure: (error) => failures.push(error),
  });
  return { records, ...(await gateway(overrides, { telemetry })) };
}

const record: RequestRecord = {
  id: "req_1",
  method: "POST",
  path: "/v1/chat/completions",
  status: 200,
  traceparent: undefined,
  startedAt: 1_000,
  ms: 250,
  firstByteMs: 100,
  stages: [{ stage: "sample", startedAt: 1_010, ms: 200 }],
  texts: { request: "a secret question" },
  route: "icdpo",
  policy: "everyday@123",
  candidates: 4,
  score: 3,
  margin: 1,
  natsPerToken: 0.05,
  copied: 0.3,
  promptTokens: 10,
  completionTokens: 5,
  work: { prompt: 100, sampled: 15, scored: 20, cached: 40 },
};

describe("what is told of a request", () => {
  it("holds its route, policy, tokens, score and lead", async () => {
    const { chat, records } = await watched();
    await chat({});
    expect(records).toEqual([
      expect.objectContaining({
        id: expect.stringMatching(/^req_/u),
        method: "POST",
        path: "/v1/chat/completions",
        status: 200,
        route: "icdpo",
        policy: expect.stringMatching(/^scored@/u),
        candidates: 3,
        answers: 1,
        score: 10,
        margin: expect.closeTo(8, 6),
        finish: "stop",
        completionTokens: 19,
        work: expect.objectContaining({ sampled: 57 }),
        texts: expect.objectContaining({ request: [{ role: "user", content: "How do I brew coffee?" }] }),
      }),
    ]);
    expect(records[0]?.stages.map(({ stage }) => stage)).toEqual(["retrieve", "queue", "sample", "score"]);
  });

  it("holds each stage once, however often its progress is told", async () => {
    const { chat, records } = await watched({ prefill: () => [10, 20, 30] });
    await chat({});
    expect(records[0]?.stages.map(({ stage }) => stage)).toEqual(["retrieve", "queue", "prefill", "sample", "score"]);
  });

  it.each([
    ["/v1/models/icdpo", 200, "/v1/models/:id", undefined],
    ["/v1/models/secret-name", 404, "/v1/models/:id", "model_not_found"],
    ["/anything/at/all", 404, "none", "unknown_url"],
  ])("names %s by its pattern, with OpenAI's error code", async (url, status, path, error) => {
    const { app, records } = await watched();
    await app.request(url);
    expect(records[0]).toMatchObject({ status, path, ...(error && { error }) });
  });

  it("comes once a stream has been read to its end", async () => {
    const { chat, records } = await watched();
    const response = await chat({ model: "plain", stream: true });
    expect(records).toEqual([]);
    await readStream(response);
    expect(records).toEqual([expect.objectContaining({ status: 200, stream: true, finish: "stop" })]);
  });

  it("says when a client left its stream", async () => {
    const { opened, open } = gate();
    const { chat, records } = await watched({ pause: () => opened });
    const response = await chat({ stream: true });
    await response.body?.cancel();
    open();
    // Once its work has ended as well, of which the record tells.
    await expect.poll(() => records).toEqual([expect.objectContaining({ status: 499, error: "request_cancelled" })]);
  });

  it("tells no number of candidates where sampling failed", async () => {
    const pause = async () => {
      throw new Error("broken");
    };
    const { chat, records } = await watched({ pause });
    await chat({});
    expect(records).toEqual([expect.objectContaining({ status: 500, answers: 1 })]);
    expect(records[0]).not.toHaveProperty("candidates");
  });

  it("harms nobody when it fails", async () => {
    const failures: unknown[] = [];
    const broken: Recorder = {
      record() {
        throw new Error("broken");
      },
    };
    const { chat, records } = await watched({}, [broken], failures);
    expect((await chat({})).status).toBe(200);
    expect(failures).toEqual([new Error("broken")]);
    expect(records).toHaveLength(1);
  });
});

describe("the log", () => {
  it.each([
    [200, undefined, "info"],
    [404, "model_not_found", "warn"],
    [503, "out_of_room", "warn"],
    [503, "shutting_down", "warn"],
    [503, "engine_unavailable", "error"],
    [500, "engine_failure", "error"],
  ] as const)("takes %i, %s for what it is: %s", (status, error, level) => {
    expect(levelOf(error === undefined ? { status } : { status, error })).toBe(level);
  });

  const folders: string[] = [];
  afterEach(async () => {
    for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
  });
  const open = async (text = false) => {
    const folder = await mkdtemp(path.join(tmpdir(), "log-"));
    folders.push(folder);
    let dropped = 0;
    const file = path.join(folder, "requests.log");
    const log = openLog({ level: "info", file, text, onDropped: () => dropped++ });
    await isThere(file); // it is opened in the background
    return { log, file, dropped: () => dropped };
  };
  const isThere = (file: string) => expect.poll(() => existsSync(file)).toBe(true);
  const lines = async (file: string) =>
    (await readFile(file, "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));

  it("holds a line for each request, without its text", async () => {
    const { log, file } = await open();
    log.record(record);
    const again = [...record.stages, { stage: "sample" as const, startedAt: 1_300, ms: 50.04 }];
    log.record({ ...record, status: 503, error: "timeout", stages: again });
    await log.close();
    const [first, second] = await lines(file);
    expect(first).toMatchObject({
      level: "info",
      id: "req_1",
      path: "/v1/chat/completions",
      status: 200,
      ms: 250,
      stages_ms: { sample: 200 },
      score: 3,
    });
    expect(second).toMatchObject({ level: "error", error: "timeout", stages_ms: { sample: 250 } });
    expect(JSON.stringify(first)).not.toContain("secret");
  });

  it("holds the text where that is asked for", async () => {
    const { log, file } = await open(true);
    log.record(record);
    await log.close();
    expect((await lines(file))[0].request).toBe("a secret question");
  });

  it("has no character that acts on a terminal, and says the same", async () => {
    const { log, file } = await open(true);
    const text = "a\u009b2J\u001b[2J\u2028b\r\n\u202ec\u0007";
    log.record({ ...record, texts: { request: text } });
    await log.close();
    const written = (await readFile(file, "utf8")).trimEnd();
    // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none
    expect(written).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e]/u);
    expect(JSON.parse(written).request).toBe(text);
  });

  it("goes on in a new file when the old one was moved away", async () => {
    const { log, file } = await open();
    log.record(record);
    await expect.poll(() => readFile(file, "utf8")).toMatch(/\n$/u);
    await rename(file, `${file}.1`);
    log.reopen();
    await isThere(file);
    log.record({ ...record, id: "req_2" });
    await log.close();
    expect((await lines(`${file}.1`)).map(({ id }) => id)).toEqual(["req_1"]);
    expect((await lines(file)).map(({ id }) => id)).toEqual(["req_2"]);
  });

  it("loses lines on a full disk, says so, and does nothing else", async () => {
    let dropped = 0;
    const log = openLog({ level: "info", file: "/dev/full", text: false, onDropped: () => dropped++ });
    for (let i = 0; i < 20_000; i++) log.record(record);
    await expect.poll(() => dropped).toBeGreaterThan(0);
    await log.close();
  });
});

const noDoors = {
  doors: () => ({ open: 0, refused: { all: 0, address: 0 }, waiting: 0, cut: 0 }),
  bodies: () => ({ held: 0, refused: 0 }),
};

describe("metrics", () => {
  it("count requests, tokens, times and scores by the gateway's own names", async () => {
    const metrics = createMetrics({
      engineState: async () => ({
        status: "ready",
        restarts: 2,
        active: 1,
        waiting: 3,
        freeSequences: 4,
        engines: { default: { status: "ready", threads: 2 }, big: { status: "ready" } },
      }),
      records: () => ({ status: "ok", error: null, written: 3, waiting: 2, lost: 1 }),
      admitted: () => 5,
      doors: () => ({ open: 6, refused: { all: 7, address: 8 }, waiting: 9, cut: 10 }),
      bodies: () => ({ held: 11, refused: 12 }),
    });
    metrics.record(record);
    metrics.record({
      ...record,
      method: "ANYTHING",
      status: 429,
      error: "rate_limit_exceeded",
      fallback: "context:1-of-2-demonstrations",
    });
    metrics.logLinesDropped();
    const { contentType, body } = await metrics.render();
    expect(contentType).toContain("text/plain");
    for (const line of [
      'icdpo_requests_total{route="icdpo",method="POST",path="/v1/chat/completions",status="200"} 1',
      'icdpo_requests_total{route="icdpo",method="other",path="/v1/chat/completions",status="429"} 1',
      'icdpo_errors_total{route="icdpo",code="rate_limit_exceeded"} 1',
      'icdpo_tokens_total{route="icdpo",kind="cached"} 80',
      'icdpo_tokens_total{route="icdpo",kind="usage_completion"} 10',
      'icdpo_stage_duration_seconds_sum{route="icdpo",stage="sample"} 0.4',
      'icdpo_score_nats_count{policy="everyday"} 2',
      // The one that was refused has none.
      'icdpo_candidates_sum{policy="everyday"} 4',
      'icdpo_candidates_count{policy="everyday"} 1',
      'icdpo_copied_share_bucket{le="0.2",policy="everyday"} 0',
      'icdpo_copied_share_bucket{le="0.3",policy="everyday"} 2',
      'icdpo_nats_per_token{policy="everyday"} 0.05',
      'icdpo_fallbacks_total{route="icdpo",reason="context"} 1',
      "icdpo_log_lines_dropped_total 1",
      "icdpo_requests_in_flight 5",
      "icdpo_connections_open 6",
      "icdpo_connections_refused_total 7",
      "icdpo_connections_refused_of_address_total 8",
      "icdpo_answers_unread_characters 9",
      "icdpo_answers_cut_total 10",
      "icdpo_bodies_held_bytes 11",
      "icdpo_bodies_refused_total 12",
      "icdpo_engine_ready 1",
      "icdpo_engine_restarts_total 2",
      "icdpo_engine_tasks_waiting 3",
      'icdpo_engine_threads{engine="default"} 2',
    ])
      expect(body).toContain(line);
    expect(body).not.toContain('engine="big"');
  });

  it("have as many series after a thousand overrides as after one", async () => {
    const series = async (overrides: number): Promise<number> => {
      const engineState = async () => ({ status: "ready", restarts: 0, engines: {} });
      const metrics = createMetrics({ engineState, records: nothing, admitted: () => 0, ...noDoors });
      for (let i = 0; i < overrides; i++) metrics.record({ ...record, policy: `everyday@${i}`, score: 1, margin: 1 });
      return (await metrics.render()).body.split("\n").filter((line) => line.startsWith("icdpo_")).length;
    };
    expect(await series(1_000)).toBe(await series(1));
  });

  it("call a counter what only goes up, whoever counts it", async () => {
    let state = { restarts: 2, written: 10, lost: 1 };
    const metrics = createMetrics({
      engineState: async () => ({ status: "ready", restarts: state.restarts, engines: {} }),
      records: () => ({ ...nothing(), written: state.written, lost: state.lost }),
      admitted: () => 0,
      ...noDoors,
    });
    const scraped = async (): Promise<number[]> => {
      const { body } = await metrics.render();
      for (const [, name, type] of body.matchAll(/^# TYPE (icdpo_\S+) (\w+)$/gmu))
        expect([name, type === "counter"]).toEqual([name, name?.endsWith("_total")]);
      const value = (name: string): number => Number(new RegExp(`^icdpo_${name}_total (\\d+)$`, "mu").exec(body)?.[1]);
      return ["engine_restarts", "records_written", "records_lost"].map(value);
    };
    expect(await scraped()).toEqual([2, 10, 1]);
    state = { restarts: 3, written: 25, lost: 1 };
    expect(await scraped()).toEqual([3, 25, 1]);
    // An engine that is no longer used takes its restarts with it.
    state = { restarts: 0, written: 30, lost: 4 };
    expect(await scraped()).toEqual([3, 30, 4]);
    state = { restarts: 1, written: 30, lost: 4 };
    expect(await scraped()).toEqual([4, 30, 4]);
  });
});

const nothing = () => ({ status: "ok", error: null, written: 0, waiting: 0, lost: 0 }) as const;

describe("traces", () => {
  it("are a span for the request and one for each stage, under the caller's, sent to the collector", async () => {
    const bodies: string[] = [];
    const collector = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request
        .on("data", (chunk: Buffer) => chunks.push(chunk))
        .on("end", () => {
          bodies.push(Buffer.concat(chunks).toString());
          response.end("{}");
        });
    });
    await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
    const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
    process.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint; // the exporter reads it itself
    const traces = await openTraces(process.env, "1.2.3");
    delete process.env["OTEL_EXPORTER_OTLP_ENDPOINT"];
    traces?.record({ ...record, traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" });
    await traces?.close();
    collector.close();
    const [{ resourceSpans }] = bodies.map((body) => JSON.parse(body));
    const spans = resourceSpans[0].scopeSpans[0].spans;
    const request = spans.find(({ name }: { name: string }) => name === "POST /v1/chat/completions");
    expect(request).toMatchObject({ traceId: "0af7651916cd43dd8448eb211c80319c", parentSpanId: "b7ad6b7169203331" });
    expect(spans.find(({ name }: { name: string }) => name === "sample").parentSpanId).toBe(request.spanId);
    expect(JSON.stringify(spans)).not.toContain("secret");
  });

  it("are not made where no collector is named", async () => {
    expect(await openTraces({}, "1")).toBeNull();
  });
});

describe("draining", () => {
  it("takes no more requests, and ends when those under way are over", async () => {
    const { opened, open } = gate();
    const admission = new Admission({ limit: 10, now: () => 0 });
    const { app, chat } = await gateway({ pause: () => opened }, { admission });
    const running = chat({});
    await new Promise((resolve) => setImmediate(resolve));
    let isIdle = false;
    const idle = admission.close().then(() => {
      isIdle = true;
    });
    const refused = await chat({});
    expect(refused.status).toBe(503);
    expect(refused.headers.get("connection")).toBe("close");
    expect(refused.headers.get("retry-after")).toBe("1");
    expect((await app.request("/ready")).status).toBe(503);
    expect((await app.request("/health")).status).toBe(200);
    expect(isIdle).toBe(false);
    open();
    expect((await running).status).toBe(200);
    await idle;
  });

  it("ends what takes too long with an error event", async () => {
    const shutdown = new AbortController();
    const { opened } = gate();
    const { chat } = await gateway({ pause: () => opened }, { shutdown: shutdown.signal });
    const response = await chat({ stream: true });
    const { shuttingDown } = await import("../../../src/gateway/admission.ts");
    shutdown.abort(shuttingDown());
    expect(await response.text()).toContain('"code":"shutting_down"');
  });
});

describe("time limits of stages", () => {
  it("name the stage and the setting", async () => {
    const { opened } = gate();
    const { chat } = await gateway({ pause: () => opened, cached: null }, { stageLimits: { queue: 20 } });
    const response = await chat({ model: "plain" });
    expect(response.status).toBe(503);
    expect(await response.text()).toContain("waiting for the model (ICDPO_QUEUE_TIMEOUT_MS)");
  });
});
