/** `icdpo judge` on a scripted model: real records, a real endpoint for the judge. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { judgeExperiment } from "../../../src/commands/judge-command.ts";
import { openTeacher } from "../../../src/demonstrations/teacher.ts";
import type { SampleRequest } from "../../../src/engine/engine.ts";
import { experimentRoutes } from "../../../src/http/endpoints/experiments.ts";
import { Database } from "../../../src/records/libsql-records.ts";
import { noStore } from "../../../src/records/no-records.ts";
import type { AnswerRow, RecordStore } from "../../../src/records/record.ts";
import { recordAnswers } from "../../../src/telemetry/answer-records.ts";
import { createTelemetry } from "../../../src/telemetry/telemetry.ts";
import type { Script, ScriptedEngine } from "../scripted-engine.ts";
import { gateway } from "../scripted-gateway.ts";
import { type Handler, type StubServer, sendJson, stubServer } from "../stub-server.ts";

let folder: string;
let database: Database;
const servers: StubServer[] = [];

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "icdpo-judge-"));
  database = await Database.open({ url: `file:${path.join(folder, "records.db")}` });
});
afterEach(async () => {
  database.close();
  for (const server of servers.splice(0)) server.kill();
  await rm(folder, { recursive: true, force: true });
});

/** A gateway with an experiment, whose answers are recorded when `write` is called. */
async function recordingGateway(script: Script = {}) {
  const rows: AnswerRow[] = [];
  const store: RecordStore = { ...noStore, keepsText: true, answer: (row) => void rows.push(row) };
  const telemetry = createTelemetry({
    recorders: [recordAnswers(store)],
    metrics: async () => ({ contentType: "text/plain", body: "" }),
    now: () => Date.now(),
    onFailure: (error) => {
      throw error;
    },
  });
  const arms = "arms: { treatment: { policy: hot }, control: { policy: cold, weight: 0 } }";
  const policies = {
    hot: "candidates: 1\nscore: { type: none }\nsampling: { temperature: 1.5, max_tokens: 300 }\n",
    cold: "candidates: 1\nscore: { type: none }\nsampling: { temperature: 0.5, top_p: 0.25, max_tokens: 200 }\nbypass: { json: true }\n",
  };
  const routes = `routes: { ab: { experiment: { unit: user, ${arms} } }, icdpo: { policy: scored } }`;
  let ids = 0;
  const newId = (prefix: string): string => `${prefix}${Date.now()}-${ids++}`;
  const running = await gateway(script, { telemetry, records: store, newId }, policies, routes);
  const write = async (): Promise<void> => database.write(rows.splice(0), []);
  const [route] = experimentRoutes(running.set);
  if (route === undefined) throw new Error("no experiment");
  return { ...running, rows, route, write };
}

async function judge(handler: Handler) {
  const server = await stubServer(handler);
  servers.push(server);
  const options = {
    baseURL: `${server.url}/v1`,
    apiKey: "none",
    model: "judge",
    maxTokens: 32,
    retries: 0,
    report: () => {},
  };
  return { server, teacher: openTeacher(options) };
}

function say(response: Parameters<Handler>[1], content: string): void {
  sendJson(response, { choices: [{ finish_reason: "stop", message: { content } }] });
}

/** What the engine was asked to sample. Streams are watched, and nobody watches the judge's. */
function sampled({ calls }: ScriptedEngine): SampleRequest[] {
  return calls.flatMap((call) => (call.type === "sample" ? [{ ...call.request, whole: undefined }] : []));
}

const signal = new AbortController().signal;
const options = { days: 1, limit: 100, concurrency: 1 };

describe("the other arm's answer", () => {
  it("is made with what the client asked for, and with its own arm's settings for the rest", async () => {
    const { chat, engine, route, write } = await recordingGateway();
    const format = {
      type: "json_schema",
      json_schema: { name: "x", schema: { type: "object", properties: { a: { type: "string" } } } },
    };
    const asked = [
      {},
      { temperature: 0.25, max_tokens: 17, stop: ["END"], seed: 99 },
      { top_p: 0.75, presence_penalty: 0.5, frequency_penalty: 0.25, logit_bias: { "65": 3 }, n: 2 },
      { logprobs: true, top_logprobs: 2 },
      { response_format: format },
    ];
    const given: SampleRequest[] = [];
    for (const body of asked) {
      expect((await chat({ model: "ab", user: "u", ...body })).status).toBe(200);
      given.push(...sampled(engine).slice(-1));
    }
    await write();
    const { teacher } = await judge((_, response) => say(response, '{"verdict":"TIE"}'));
    engine.calls.length = 0;
    const { made } = await judgeExperiment(database, route, teacher, options, { signal, report: () => {} });
    expect(made).toHaveLength(asked.length);
    // What the client left open is the arm's.
    const own = { temperature: 0.5, topP: 0.25, maxTokens: 200 };
    const open = [own, { topP: 0.25 }, { temperature: 0.5, maxTokens: 200 }, own, own];
    const requests = sampled(engine);
    for (const [i, request] of given.entries()) expect(requests).toContainEqual({ ...request, ...open[i] });
    expect(requests.find(({ seeds }) => seeds.length === 2)?.logitBias).toEqual(new Map([[65, 3]]));
  });

  it("is not made where the request's settings are not known, or it has tools", async () => {
    const { chat, route, rows, engine } = await recordingGateway();
    const tools = [{ type: "function", function: { name: "look", parameters: { type: "object", properties: {} } } }];
    await chat({ model: "ab" });
    await chat({ model: "ab", tools });
    await chat({ model: "ab" });
    const [old, ...others] = rows as [AnswerRow, ...AnswerRow[]];
    const { settings, ...texts } = old.texts ?? { request: "", answers: "" };
    expect(JSON.parse(settings ?? "")).toMatchObject({
      seed: 7,
      answers: 1,
      usesTools: false,
      format: { type: "text" },
      sampling: {},
    });
    await database.write([{ ...old, texts }, ...others], []);
    const { server, teacher } = await judge((_, response) => say(response, '{"verdict":"A"}'));
    const said: string[] = [];
    engine.calls.length = 0;
    const result = await judgeExperiment(database, route, teacher, options, {
      signal,
      report: (line) => said.push(line),
    });
    expect(result).toMatchObject({ made: [{ arm: "treatment", other: "control", value: 0.5 }], unreadable: 0 });
    expect(engine.calls).toHaveLength(1);
    expect(server.requests).toHaveLength(2);
    expect(said).toEqual([
      "1 comparisons to make",
      "1 answers are left out: they were to requests with tools, which are not recorded",
      "1 answers are left out: they were recorded without the request's own settings",
    ]);
  });
});

describe("a judge", () => {
  it("whose verdict cannot be read has made no tie, and is asked again", async () => {
    const { chat, route, write } = await recordingGateway();
    for (let i = 0; i < 3; i++) await chat({ model: "ab", seed: i });
    await write();
    const texts = ["A", "B", '{"verdict":"A"}', '{"verdict":"B"}', '{"verdict":"A"}', "I like A"];
    const { server, teacher } = await judge((_, response) => say(response, texts.shift() ?? '{"verdict":"TIE"}'));
    const first = await judgeExperiment(database, route, teacher, options, { signal, report: () => {} });
    expect(first).toMatchObject({ made: [{ value: 1 }], unreadable: 2 });
    expect(server.requests).toHaveLength(6);
    expect((await database.judgements("ab")).map(({ value }) => value)).toEqual([1]);
    const second = await judgeExperiment(database, route, teacher, options, { signal, report: () => {} });
    expect(second).toMatchObject({ made: [{ value: 0.5 }, { value: 0.5 }], unreadable: 0 });
    expect(server.requests).toHaveLength(10);
  });

  it("that fails once is asked nothing more; the first failure is thrown, and what was judged is kept", async () => {
    const { chat, engine, route, write } = await recordingGateway();
    for (let i = 0; i < 8; i++) await chat({ model: "ab", seed: i });
    await write();
    let failed: (() => void) | undefined;
    const failure = new Promise<void>((resolve) => {
      failed = resolve;
    });
    let asked = 0;
    const { server, teacher } = await judge(async (_, response) => {
      asked += 1;
      // Both verdicts on the first two are given; then the fifth call fails while the sixth is under way.
      if (asked <= 4) return say(response, '{"verdict":"A"}');
      if (asked === 5) {
        sendJson(response, { error: { message: "no money left", code: "insufficient_quota" } }, 402);
        return failed?.();
      }
      await failure;
      await new Promise((resolve) => setImmediate(resolve));
      say(response, '{"verdict":"A"}');
    });
    const said: string[] = [];
    engine.calls.length = 0;
    const run = judgeExperiment(
      database,
      route,
      teacher,
      { ...options, concurrency: 2 },
      { signal, report: (line) => said.push(line) },
    );
    await expect(run).rejects.toThrow("402 (insufficient_quota)");
    const kept = await database.judgements("ab");
    expect(said.at(-1)).toBe(`${kept.length} of 8 are judged, and kept; the same command goes on.`);
    expect(kept.length).toBeGreaterThanOrEqual(1);
    expect(server.requests.length).toBeLessThanOrEqual(6);
    expect(engine.calls.length).toBeLessThanOrEqual(4);
  });
});
