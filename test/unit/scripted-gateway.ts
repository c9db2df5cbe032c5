/** @module The app around a scripted engine, with a scored, a plain and a slow route. */
import { expect } from "vitest";
import type { ApiKey } from "../../src/access/access.ts";
import { noLimits } from "../../src/access/key-limits.ts";
import { Sessions } from "../../src/access/sessions.ts";
import { usualUserHeaders } from "../../src/access/user-headers.ts";
import { createApp } from "../../src/app.ts";
import { onlyEngine } from "../../src/engine/engines.ts";
import { Admission } from "../../src/gateway/admission.ts";
import { BodyRoom } from "../../src/gateway/body-room.ts";
import type { AppDependencies } from "../../src/gateway/dependencies.ts";
import type { RequestEnd, RequestObserver } from "../../src/gateway/observation.ts";
import { buildPolicySet } from "../../src/policy/build.ts";
import { textFile } from "../../src/policy/parsed-policies.ts";
import { noStore } from "../../src/records/no-records.ts";
import type { Embedder, EmbeddingModel } from "../../src/retrieval/retriever.ts";
import type { Rewards } from "../../src/reward/reward-model.ts";
import { type Script, ScriptedEngine } from "./scripted-engine.ts";

const demonstrations = [
  {
    id: "tea",
    messages: [{ role: "user", content: "How do I brew tea?" }],
    chosen: "Warm the pot first.",
    rejected: "Who cares.",
    near: ["Use water."],
  },
  {
    id: "rain",
    messages: [{ role: "user", content: "Will it rain?" }],
    chosen: "Look at the clouds.",
    rejected: "Google it.",
    near: ["It might."],
  },
];
const policies = new Map([
  ["plain", "candidates: 1\nscore: { type: none }\n"],
  ["scored", "demonstrations: set\nretriever: { type: bm25 }\nscore: { type: contrast, negative: rejected }\n"],
  ["slow", "candidates: 2\ninstructions: {}\nscore: { type: contrast, negative: rejected }\nbudget_ms: 20\n"],
]);
const routes =
  "routes: { icdpo: { policy: scored }, plain: { policy: plain }, slow: { policy: slow } }\naliases: { gpt-4o-mini: icdpo }\n";

/** C⁺ is told from C⁻ by the demonstrations' responses; candidate 1 is liked best under C⁺. */
const script: Script = {
  sample: (index) => ({ text: `Candidate number ${index}.` }),
  sum: (context, response) =>
    context.includes("Who cares.") || context.includes("Google it.") ? -30 : response.includes("number 1") ? -20 : -28,
};

export class SilentObserver implements RequestObserver {
  note(): void {}
  stage(): void {}
  text(): void {}
  worked(): void {}
  begin(): void {}
  fail(): void {}
  hold = () => () => {};
  end(_: RequestEnd): void {}
}

const embed = async (texts: readonly string[]) => texts.map((text) => Float32Array.of(text.length, 0.5));

/** A text's embedding is its length, and a half. A word is a token. */
const scriptedEmbedder: EmbeddingModel = {
  model: "scripted-embeddings@1",
  name: "scripted-embeddings",
  embed,
  embedKept: embed,
  embedCounted: async (texts) =>
    (await embed(texts)).map((embedding, i) => ({ embedding, tokens: (texts[i] as string).split(" ").length })),
};

/** Keys that stay are a list; of none, everybody may use everything. */
export type GatewayOptions = Partial<Omit<AppDependencies, "keys">> & {
  readonly keys?: readonly ApiKey[] | AppDependencies["keys"];
};

export async function gateway(
  overrides: Script = {},
  { keys, ...dependencies }: GatewayOptions = {},
  morePolicies: Record<string, string> = {},
  otherRoutes?: string,
  policyEmbedder: () => Promise<Embedder> = dependencies.embedder ?? (() => Promise.reject(new Error("not needed"))),
  rewards?: Rewards,
) {
  const engine = new ScriptedEngine({ ...script, ...overrides });
  const set = await buildPolicySet(
    {
      policies: new Map([...policies, ...Object.entries(morePolicies)]),
      routes:
        otherRoutes ??
        routes.replace(
          "}\n",
          `${Object.keys(morePolicies)
            .map((name) => `, ${name}: { policy: ${name} }`)
            .join("")} }\n`,
        ),
      demonstrations: new Map([["set", textFile(demonstrations.map((one) => JSON.stringify(one)).join("\n"))]]),
    },
    { engines: onlyEngine(engine), embedder: policyEmbedder, rewards },
  );
  const reported: unknown[] = [];
  const told: string[] = [];
  let ids = 0;
  const app = createApp({
    engineState: async () => ({ status: "ready" }),
    admission: new Admission({ limit: 100, now: () => 0 }),
    policies: () => set,
    policyState: () => ({ loadedAt: 1_600_000_000, reloads: 0, error: null }),
    embedder: async () => scriptedEmbedder,
    embeddingAliases: new Set(["text-embedding-3-small"]),
    records: noStore,
    recentRequests: () => [],
    telemetry: { observe: () => new SilentObserver(), metrics: async () => ({ contentType: "text/plain", body: "" }) },
    clientAddress: () => undefined,
    stageLimits: {},
    shutdown: new AbortController().signal,
    tenantUnit: "key",
    userHeaders: { names: usualUserHeaders, areTrusted: false },
    reasoningWord: "reasoning_content",
    tell: (line) => told.push(line),
    isLocal: true,
    limiter: noLimits,
    corsOrigins: [],
    allowedHosts: null,
    report: (error) => reported.push(error),
    newId: (prefix) => `${prefix}${ids++}`,
    randomSeed: () => 7,
    now: () => 0,
    unixTime: () => 1_700_000_000,
    deadline: () => AbortSignal.timeout(60_000),
    pingMs: 5,
    readerMs: 60_000,
    maxAnswers: 16,
    maxBodyBytes: 100_000,
    turn: async () => {},
    bodyRoom: new BodyRoom(2 ** 27),
    sessions: new Sessions({ secret: new Uint8Array(32), unixTime: () => 1_700_000_000 }),
    startedAt: 1_600_000_000,
    version: "0.0.0",
    ...dependencies,
    keys: typeof keys === "function" ? keys : () => (keys === undefined || keys.length === 0 ? null : keys),
  });
  const post = (path: string, body: unknown, headers: Record<string, string> = {}, signal?: AbortSignal) =>
    app.request(path, {
      ...(signal && { signal }),
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
  const chat = (body: Record<string, unknown>, headers?: Record<string, string>, signal?: AbortSignal) =>
    post(
      "/v1/chat/completions",
      { model: "icdpo", messages: [{ role: "user", content: "How do I brew coffee?" }], ...body },
      headers,
      signal,
    );
  const requests = async (): Promise<number> => (await json(await app.request("/health"))).requests;
  return { app, engine, set, post, chat, reported, told, requests };
}

// biome-ignore lint/suspicious/noExplicitAny: a test reads whatever JSON came back
export async function json(response: Response): Promise<any> {
  return response.json();
}

/** A stream's events; comments apart, which may stand before any of them on a busy machine. */
export function eventsOf(text: string): string[] {
  return text
    .split("\n")
    .filter((line) => !line.startsWith(":"))
    .join("\n")
    .split("\n\n");
}

/** The `data:` payloads of a stream, [DONE] last; comments apart. Nothing else stands in it, and no event is empty. */
export async function readStream(response: Response) {
  // Texts may hold U+2028, which ends a line for a regular expression, and for nobody who reads events.
  const text = await response.text();
  const comments = text
    .split("\n")
    .filter((line) => line.startsWith(":"))
    .map((line) => `${line}\n`);
  const events = eventsOf(text);
  expect(events.pop()).toBe("");
  expect(events.filter((event) => !/^data: [^\n]+$/u.test(event))).toEqual([]);
  const data = events.map((event) => event.slice(6));
  expect(data.at(-1)).toBe("[DONE]");
  return { comments, chunks: data.slice(0, -1).map((event) => JSON.parse(event)) };
}
