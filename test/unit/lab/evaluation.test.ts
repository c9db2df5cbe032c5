import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { type AnswerRow, answerOf, answerRowSchema } from "../../../lab/answers.ts";
import { answersReport, answersSummary, judgedFigure } from "../../../lab/answers-report.ts";
import { type Arm, changedArm, measured } from "../../../lab/arms.ts";
import type { CacheEntry, Kind } from "../../../lab/cache.ts";
import { cachedTeacher } from "../../../lab/cached-teacher.ts";
import { ownExamples } from "../../../lab/commands/pairs-and-leave-one-out.ts";
import { dataReport, splitLabel } from "../../../lab/data-report.ts";
import { accuracy, accuracyDifference, measurePair, type PairMargins } from "../../../lab/pairs.ts";
import { pairsReport } from "../../../lab/pairs-report.ts";
import { paperTable } from "../../../lab/paper-table.ts";
import { dotPlot, linePlot, shareBars } from "../../../lab/plots.tsx";
import { samplesOf } from "../../../lab/pools.ts";
import { rankingReport } from "../../../lab/ranking-report.ts";
import { cachedReward, engineReward, httpReward } from "../../../lab/reward.ts";
import { verdictForm } from "../../../src/demonstrations/judge.ts";
import { onlyEngine } from "../../../src/engine/engines.ts";
import { buildPolicySet } from "../../../src/policy/build.ts";
import { textFile } from "../../../src/policy/parsed-policies.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { armWith, memory } from "./scripted-arm.ts";

const { signal } = new AbortController();

const number: Kind<number> = { name: "number", version: 1, schema: z.number() };

describe("ResultCache", () => {
  it("computes once what several ask for, and nothing that an earlier run kept", async () => {
    let computed = 0;
    const compute = async () => ++computed;
    const { cache, added } = memory();
    expect(await Promise.all([cache.recall(number, ["a"], compute), cache.recall(number, ["a"], compute)])).toEqual([
      1, 1,
    ]);
    expect(await cache.recall(number, ["b"], compute)).toBe(2);
    expect(added).toHaveLength(2);
    const later = memory(JSON.parse(JSON.stringify(added)) as CacheEntry[]).cache;
    expect(await later.recall(number, ["a"], compute)).toBe(1);
    expect(computed).toBe(2);
    expect(later.hits).toBe(1);
  });

  it("takes nothing of another version, another kind or another form, and keeps no failure", async () => {
    const { cache, added } = memory();
    await cache.put(number, ["a"], 1);
    const again = memory(added).cache;
    expect(again.get({ ...number, version: 2 }, ["a"])).toBeUndefined();
    expect(again.get({ ...number, name: "other" }, ["a"])).toBeUndefined();
    expect(again.get<string>({ name: "number", version: 1, schema: z.string() }, ["a"])).toBeUndefined();
    await expect(cache.recall(number, ["c"], () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await cache.recall(number, ["c"], async () => 3)).toBe(3);
  });
});

describe("what is measured twice", () => {
  it("is scored once, and gives the same sums", async () => {
    const engine = new ScriptedEngine({ sum: (context, response) => -context.length / 7 - response.length });
    const arm = await armWith(engine);
    const { cache, added } = memory();
    const request = {
      conversation: [{ role: "user", content: "soup?" }] as const,
      completions: ["hot", "cold soup"],
      seed: 4,
    };
    const first = await measured(arm, cache, request);
    const scored = engine.calls.filter(({ type }) => type === "score").length;
    expect(scored).toBe(3);
    const second = await measured(arm, memory(added).cache, { ...request, completions: ["cold soup", "hot", "new"] });
    for (const [i, j] of [
      [0, 1],
      [1, 0],
    ] as const) {
      const [before, after] = [first.measured[i], second.measured[j]];
      expect(after?.sHat).toBeCloseTo(before?.sHat ?? Number.NaN, 3);
      expect(after?.base).toBeCloseTo(before?.base ?? Number.NaN, 3);
    }
    // Only the new completion was fed, after each of the three contexts.
    expect(engine.calls.slice(scored).map((call) => call.type === "score" && call.responses)).toEqual([
      ["new"],
      ["new"],
      ["new"],
    ]);
  });

  it("shares the context without demonstrations among arms", async () => {
    const engine = new ScriptedEngine();
    const arm = await armWith(engine);
    const other = await changedArm(arm, { shots: 2 });
    const { cache } = memory();
    const request = { conversation: [{ role: "user", content: "soup?" }] as const, completions: ["hot"], seed: 4 };
    await measured(arm, cache, request);
    await measured(other, cache, request);
    expect(engine.calls.filter(({ type }) => type === "score")).toHaveLength(5);
    expect(other.policy.id).not.toBe(arm.policy.id);
  });
});

describe("answers", () => {
  it("are generated once for a policy, prompt and seed", async () => {
    const engine = new ScriptedEngine({
      sample: (index) => ({ text: ["a", "bb", "ccc"][index] ?? "" }),
      sum: (_, response) => -response.length,
    });
    const arm = await armWith(engine, "candidates: 3\nscore: { type: none }\n");
    const { cache, added } = memory();
    const prompt = { messages: [{ role: "user", content: "soup?" }] as const, seed: 1 };
    let clock = 0;
    const now = (): number => ++clock;
    const answer = await answerOf(arm, cache, prompt, now, signal);
    expect(answer).toMatchObject({ text: "a", tokens: 1, finish: "stop", candidates: 3, score: null });
    expect(await answerOf(arm, memory(added).cache, prompt, now, signal)).toEqual(answer);
    expect(engine.calls).toHaveLength(1);
    await answerOf(arm, cache, { ...prompt, seed: 2 }, now, signal);
    expect(engine.calls).toHaveLength(2);
    const { answers } = await samplesOf(arm, cache, prompt, 3, now, signal);
    expect(answers.map(({ text }) => text)).toEqual(["a", "bb", "ccc"]);
  });
});

describe("a prompt that is demonstrated too", () => {
  const conversation = [{ role: "user", content: "tea?" }] as const;

  it("is measured without its own demonstration", async () => {
    const engine = new ScriptedEngine();
    const arm = await changedArm(await armWith(engine), { shots: 2 });
    await measured(arm, memory().cache, { conversation, completions: ["hot"], seed: 4 });
    expect(engine.calls.some(({ context }) => context.includes("boil it"))).toBe(true);
    expect(engine.calls.some(({ context }) => context.includes("steep it"))).toBe(false);
    await measured(arm, memory().cache, {
      conversation: [{ role: "user", content: "tea, please?" }],
      completions: ["hot"],
      seed: 4,
    });
    expect(engine.calls.some(({ context }) => context.includes("steep it"))).toBe(true);
  });

  it("is answered without it", async () => {
    const engine = new ScriptedEngine();
    const arm = await changedArm(await armWith(engine), { shots: 2 });
    await answerOf(arm, memory().cache, { messages: conversation, seed: 1 }, () => 0, signal);
    expect(engine.calls.some(({ context }) => context.includes("boil it"))).toBe(true);
    expect(engine.calls.some(({ context }) => context.includes("steep it"))).toBe(false);
  });
});

describe("an answer", () => {
  const request = { messages: [{ role: "user", content: "soup?" }] as const, seed: 1 };

  it("depends on no other request, where a policy remembers what tokens add to its scores", async () => {
    const score = "{ type: contrast, negative: rejected, normalize: length }";
    const arm = await armWith(
      new ScriptedEngine(),
      `demonstrations: d\nretriever: { type: random }\nscore: ${score}\n`,
    );
    arm.policy.rate?.add({ nats: 100_000, tokens: 100_000 });
    const before = arm.policy.rate?.totals;
    const { score: own } = await answerOf(arm, memory().cache, request, () => 0, signal);
    expect(before).toBeDefined();
    expect(arm.policy.rate?.totals).toEqual(before);
    // All candidates are alike: each is as good as its own mean.
    expect(own).toBeCloseTo(0);
  });

  it("is told with how much of it is copied, and counts where an earlier version did not say", async () => {
    const text = "First steep it, then boil it for as long as you like";
    const demonstration = { id: "a", messages: [{ role: "user", content: "?" }], chosen: text, rejected: "no" };
    const files = {
      policies: new Map([["p", "demonstrations: d\nretriever: { type: random }\nscore: { type: none }\n"]]),
      routes: "routes: { p: { policy: p } }",
      demonstrations: new Map([["d", textFile(JSON.stringify(demonstration))]]),
    };
    const engines = onlyEngine(new ScriptedEngine({ sample: () => ({ text }) }));
    const { policies } = await buildPolicySet(files, { engines, embedder: () => Promise.reject(new Error("none")) });
    const arm: Arm = { name: "p", policy: policies.get("p") as Arm["policy"] };
    const { cache, added } = memory();
    expect((await answerOf(arm, cache, request, () => 0, signal)).copied).toBe(1);
    const earlier = added.map(({ value, ...entry }) => ({
      ...entry,
      value: { ...(value as object), copied: undefined },
    }));
    const recalled = memory(earlier);
    expect((await answerOf(arm, recalled.cache, request, () => 0, signal)).copied).toBeNull();
    expect(recalled.added).toEqual([]);
  });
});

describe("changedArm", () => {
  it("shows no demonstrations at 0 shots, and says what does not go together", async () => {
    const arm = await armWith(new ScriptedEngine());
    const none = await changedArm(arm, { shots: 0, candidates: 5, name: "none" });
    expect(none).toMatchObject({ name: "none", policy: { retriever: null, settings: { shots: 0, candidates: 5 } } });
    const engine = new ScriptedEngine({
      capabilities: { chat: false, text: true, score: true, grammar: true, tools: null },
    });
    const blind = { ...arm, policy: { ...arm.policy, sampler: { ...arm.policy.sampler, engine } } };
    await expect(changedArm(blind, { prompt: "chat" })).rejects.toThrow("no chat template");
  });
});

function margins(id: string, values: Partial<PairMargins["sum"]>, equallyLong = true): PairMargins {
  const none = { s_hat: null, s: null, likelihood: null, base: null };
  return {
    id,
    equallyLong,
    tokens: { chosen: 2, rejected: 3 },
    sum: { ...none, ...values },
    token: { ...none, ...values },
    fallback: null,
  };
}

describe("pairwise accuracy", () => {
  it("measures margins of sums and of means per token", async () => {
    const engine = new ScriptedEngine({
      sum: (context, response) => (context.includes("steep") || context.includes("boil") ? -2 : -6) * response.length,
    });
    const pair = {
      id: "x",
      messages: [{ role: "user", content: "soup?" }] as const,
      chosen: "hot",
      rejected: "cold soup",
    };
    const { cache } = memory();
    const found = await measurePair(await armWith(engine), cache, pair, { seed: 1 });
    expect(found).toMatchObject({ id: "x", equallyLong: false, tokens: { chosen: 4, rejected: 10 }, fallback: null });
    // C⁺: −2 a character; C⁻ and C⁰: −6.
    expect(found.sum.s_hat).toBeCloseTo(3 * 4 - 9 * 4, 4);
    expect(found.sum.likelihood).toBeCloseTo(-6 + 18, 4);
    expect(found.token.likelihood).toBeCloseTo(-6 / 4 + 18 / 10, 4);
    expect(found.sum.base).toBeCloseTo(-18 + 54, 4);
  });

  it("holds a set's chosen responses against the written ones, or each near negative, with the prompt's own seed", () => {
    const prompt = [{ role: "user", content: "soup?" }] as const;
    const both = { id: "soup", messages: prompt, chosen: "hot", rejected: "cold", near: ["warm", "wet"] };
    const set = [{ id: "lone", messages: prompt, chosen: "hot" }, both];
    const named = (against: "rejected" | "near") =>
      ownExamples(set, against, 7).map(({ id, rejected }) => [id, rejected]);
    expect(named("rejected")).toEqual([["soup", "cold"]]);
    expect(named("near")).toEqual([
      ["soup/near-0", "warm"],
      ["soup/near-1", "wet"],
    ]);
    const seeds = (["rejected", "near"] as const).flatMap((which) =>
      ownExamples(set, which, 7).map(({ seed }) => seed),
    );
    expect(new Set(seeds).size).toBe(1);
  });

  it("counts a tie half, and leaves out pairs without the score", () => {
    const set = [margins("a", { s: 1 }), margins("b", { s: 0 }), margins("c", { s: -1 }), margins("d", {})];
    expect(accuracy([set], "s", "sum")?.value).toBe(0.5);
    expect(accuracy([set], "s_hat", "sum")).toBeNull();
  });

  it("compares arms on the same pairs", () => {
    const of = [margins("a", { s: 1 }), margins("b", { s: 2 }), margins("c", { s: -1 })];
    const than = [margins("a", { s: -1 }), margins("b", { s: 1 }), margins("c", { s: -3 })];
    expect(accuracyDifference([{ of, than }], "s", "sum")?.value).toBeCloseTo(1 / 3, 12);
  });

  it("finds the same pairs by their ids, in whatever order they are, where each arm lacks another one", () => {
    const of = [margins("a", { s: 1 }), margins("b", {}), margins("c", { s: -1 }), margins("d", { s: 1 })];
    const than = [margins("c", { s: -3 }), margins("d", {}), margins("b", { s: 1 }), margins("a", { s: 1 })];
    // Both have a and c, and agree on them.
    expect(accuracyDifference([{ of, than }], "s", "sum")).toEqual({ value: 0, low: 0, high: 0 });
    expect(accuracyDifference([{ of, than: [margins("e", { s: 1 })] }], "s", "sum")).toBeNull();
  });

  it("is written with its intervals, its counts and its policies", () => {
    const arms = ["random", "bm25"].map((name) => ({
      name,
      id: `${name}@0`,
      format: "chat",
      sets: [
        { label: "harmless", pairs: [margins("a", { s: 1, base: 2 }), margins("b", { s: 2, base: -1 }, false)] },
        { label: "helpful", pairs: [margins("c", { s: -1, base: 1 })] },
      ],
    }));
    const report = pairsReport("Pairs", arms);
    expect(report).toContain("## harmless (2 pairs)");
    expect(report).toContain("## Mean of the sets (3 pairs)");
    expect(report).toContain("## Of these, about equally long (2 pairs)");
    expect(report).toContain("- random: random@0, prompt format chat");
    expect(report).toContain("| bm25 | – | 0.0 (0.0 … 0.0) |");
  });
});

const servers: (() => void)[] = [];
afterEach(() => {
  for (const close of servers.splice(0)) close();
});

async function endpoint(answer: (body: Record<string, unknown>, call: number) => { status: number; body: unknown }) {
  const bodies: Record<string, unknown>[] = [];
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk) => {
      text += chunk;
    });
    request.on("end", () => {
      bodies.push({ ...JSON.parse(text), authorization: request.headers.authorization });
      const { status, body } = answer(bodies.at(-1) ?? {}, bodies.length);
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  servers.push(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies };
}

describe("rewards", () => {
  const conversation = [{ role: "user", content: "soup?" }] as const;
  const options = { retries: 2, fetch, pause: async () => {} };

  it("come from an endpoint, which may fail for a while", async () => {
    const { url, bodies } = await endpoint((_, call) =>
      call === 1 ? { status: 503, body: {} } : { status: 200, body: { reward: -1.5 } },
    );
    const model = httpReward({ url, apiKey: "secret", ...options });
    expect(await model.reward(conversation, "hot", signal)).toBe(-1.5);
    expect(bodies).toHaveLength(2);
    expect(bodies[1]).toEqual({ messages: conversation, response: "hot", authorization: "Bearer secret" });
  });

  it("wait longer after each failure, up to a bound, and as long as the endpoint asks for", async () => {
    const waited: number[] = [];
    const pause = async (ms: number): Promise<void> => void waited.push(ms);
    const answers = Array.from({ length: 12 }, (_, call) =>
      call === 11
        ? Response.json({ reward: 1 })
        : new Response("", { status: 429, headers: call === 0 ? { "retry-after": "3" } : {} }),
    );
    const fetch = async (): Promise<Response> => answers.shift() as Response;
    const model = httpReward({ url: "http://reward", retries: 11, fetch, pause });
    expect(await model.reward(conversation, "hot", signal)).toBe(1);
    expect(waited[0]).toBe(3_000);
    expect(waited[4]).toBeGreaterThanOrEqual(4_000);
    expect(Math.max(...waited)).toBeLessThanOrEqual(60_000);
  });

  it("are raw logits of vLLM's /classify: of one class, or the second's less the first's", async () => {
    const { url, bodies } = await endpoint((_, call) => ({
      status: 200,
      body: { data: [{ probs: call === 1 ? [2.5] : [-1, 3] }] },
    }));
    const model = httpReward({ url: `${url}/classify`, ...options });
    expect(await model.reward(conversation, "hot", signal)).toBe(2.5);
    expect(await model.reward(conversation, "cold", signal)).toBe(4);
    expect(bodies[0]).toMatchObject({
      messages: [...conversation, { role: "assistant", content: "hot" }],
      use_activation: false,
    });
  });

  it("are errors where the endpoint says that the request is bad, at once", async () => {
    const { url, bodies } = await endpoint(() => ({ status: 400, body: { error: "bad" } }));
    await expect(httpReward({ url, ...options }).reward(conversation, "hot", signal)).rejects.toThrow(
      "gave no reward: 400",
    );
    expect(bodies).toHaveLength(1);
  });

  it("tell nothing of what they were asked where that goes wrong, and are not read on where they are far too large", async () => {
    const answers = [
      () => new Response("tulips", { status: 400 }),
      () => new Response("tulips"),
      () => Response.json({ reward: "tulips" }),
    ];
    for (const answer of answers) {
      const model = httpReward({ url: "http://reward", ...options, retries: 0, fetch: async () => answer() });
      const error = (await model.reward(conversation, "tulips", signal).catch((thrown: unknown) => thrown)) as Error;
      expect(error).toMatchObject({ code: "engine_unavailable", message: expect.stringContaining("gave no reward") });
      expect(error.message).not.toContain("tulips");
    }
    let read = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        read += 2 ** 16;
        controller.enqueue(new Uint8Array(2 ** 16).fill(32));
      },
    });
    const model = httpReward({ url: "http://reward", ...options, fetch: async () => new Response(endless) });
    await expect(model.reward(conversation, "hot", signal)).rejects.toMatchObject({ code: "engine_failure" });
    expect(read).toBeLessThan(8 * 2 ** 20);
  });

  it("are asked for once", async () => {
    const { url, bodies } = await endpoint(() => ({ status: 200, body: { reward: 1 } }));
    const model = cachedReward(httpReward({ url, ...options }), memory().cache);
    expect([await model.reward(conversation, "hot", signal), await model.reward(conversation, "hot", signal)]).toEqual([
      1, 1,
    ]);
    expect(bodies).toHaveLength(1);
  });

  it("can be a model's log-probability, summed or per token", async () => {
    const engine = new ScriptedEngine({ sum: () => -12 });
    expect(await (await engineReward(engine, "chat", "sum")).reward(conversation, "hot", signal)).toBeCloseTo(-12, 9);
    expect(await (await engineReward(engine, "chat", "token")).reward(conversation, "hot", signal)).toBeCloseTo(-3, 9);
  });
});

describe("a judge", () => {
  it("is asked nothing twice, and its tokens are counted, those of earlier runs too", async () => {
    let asked = 0;
    const keys: string[] = [];
    const ask = async (_: unknown, key: string) => {
      keys.push(key);
      return { text: `${++asked}`, finish: "stop" as const, promptTokens: 10, completionTokens: 1 };
    };
    const { cache, added } = memory();
    const messages = [{ role: "user", content: "A or B?" }] as const;
    await cachedTeacher({ model: "m", id: "m", ask }, cache).ask(messages, "k");
    const later = cachedTeacher({ model: "m", id: "m", ask }, memory(added).cache);
    expect((await later.ask(messages, "k")).text).toBe("1");
    expect(later.used()).toEqual({ promptTokens: 10, completionTokens: 1, calls: 1 });
    await cachedTeacher({ model: "m", id: "m, longer answers", ask }, memory(added).cache).ask(messages, "k");
    expect(asked).toBe(2);
    await later.ask(messages, "k", undefined, verdictForm);
    expect(asked).toBe(3);
    // Two answers to one prompt are two calls, whatever the caller names them.
    await later.ask([{ role: "user", content: "A or C?" }], "k");
    expect(new Set(keys).size).toBe(4);
  });

  it("that says nothing is asked again: nothing empty is kept", async () => {
    const texts = ["", "A"];
    const ask = async () => ({
      text: texts.shift() ?? "",
      finish: "stop" as const,
      promptTokens: 10,
      completionTokens: 0,
    });
    const { cache, added } = memory();
    const judge = cachedTeacher({ model: "m", id: "m", ask }, cache);
    expect((await judge.ask([], "k")).text).toBe("");
    expect(added).toEqual([]);
    expect((await judge.ask([], "k")).text).toBe("A");
    expect(added).toHaveLength(1);
  });
});

function row(arm: string, set: string, id: string, reward: number, judgement: AnswerRow["judgement"]): AnswerRow {
  const work = { prompt: 10, sampled: 2, scored: 0, cached: 5 };
  const measures = { rewards: { RM: reward }, judgement, s: null, s_hat: null };
  return {
    arm,
    set,
    id,
    policy: `${arm}@0`,
    text: "t",
    finish: "stop",
    tokens: 2,
    score: null,
    candidates: 1,
    ms: 1500,
    work,
    fallback: null,
    copied: arm === "icdpo" ? (set === "harmless" ? 0.5 : 0.2) : null,
    ...measures,
  };
}

const rows = [
  row("base", "harmless", "1", 4, 0),
  row("base", "helpful", "1", -78, 0.5),
  row("icdpo", "harmless", "1", 25, 1),
  row("icdpo", "helpful", "1", -65, 1),
];

describe("reports", () => {
  it("hold each set's mean, the mean of the sets, differences, judgements and costs", () => {
    const report = answersReport("Systems", rows, ["- a note"]);
    expect(report).toContain("|  | harmless | helpful | Total |");
    expect(report).toMatch(
      /## 5-grams copied from demonstrations, %\n\n.*\n.*\n\| base \|[^\n]*\n\| icdpo \| 50\.0 [^\n]*\| 35\.0 /u,
    );
    expect(report).toMatch(
      /## answers of which more than 20 % is copied, %\n\n.*\n.*\n[^\n]*\n\| icdpo \| 100\.0 [^\n]*\| 50\.0 /u,
    );
    expect(report).toContain("| base | 4.00 (4.00 … 4.00) | −78.00 (−78.00 … −78.00) | −37.00 (−37.00 … −37.00) |");
    expect(report).toContain("| icdpo | 21.00 (21.00 … 21.00) | 13.00 (13.00 … 13.00) | 17.00 (17.00 … 17.00) |");
    expect(report).toContain("| harmless | win | tie | lose | unreadable |");
    expect(report).toContain("| icdpo | 1 | 0 | 0 | 0 |");
    expect(report).toContain("| base | 1.50 | 1.50 | 10 | 5 | 2 | 0 |");
    expect(report).toContain("- a note");
    expect(answersSummary(rows)[1]).toMatchObject({ arm: "icdpo", judged: { win: 2, tie: 0, lose: 0, unreadable: 0 } });
    expect(judgedFigure(rows)).toContain("<svg");
    expect(judgedFigure(rows.map((one) => ({ ...one, judgement: null })))).toBeNull();
  });

  it("count what has no verdict that can be read apart, as neither a tie nor unasked", () => {
    const some = [...rows, row("icdpo", "harmless", "2", 3, "unreadable"), row("icdpo", "harmless", "3", 3, 0.5)];
    expect(answersReport("Systems", some, [])).toContain("| icdpo | 1 | 1 | 0 | 1 |");
    expect(answersSummary(some)[1]).toMatchObject({
      judged: { win: 2, tie: 1, lose: 0, unreadable: 1 },
      measures: { "wins against the chosen response, a tie counting half, %": { harmless: { value: 75 } } },
    });
    const none = rows.map((one) => ({ ...one, judgement: "unreadable" as const }));
    expect(judgedFigure(none)).toBeNull();
    expect(answersReport("Systems", none, [])).toContain("| icdpo | 0 | 0 | 0 | 1 |");
    expect(answerRowSchema.parse(JSON.parse(JSON.stringify(none[0]))).judgement).toBe("unreadable");
  });

  it("lay several runs out as the paper does", () => {
    const both = ["LLaMA", "Mistral"].flatMap((model) =>
      rows.map((one) => ({ ...one, model, teacher: "LLaMA2-chat" })),
    );
    const measure = { name: "reward RM", digits: 2, of: (one: AnswerRow) => one.rewards["RM"] ?? null };
    const table = paperTable(both, measure, "all");
    expect(table).toContain(
      "|  | LLaMA, harmless | LLaMA, helpful | LLaMA, Total | Mistral, harmless | Mistral, helpful | Mistral, Total |",
    );
    expect(table).toContain("| **w/ LLaMA2-chat** |  |  |  |  |  |  |");
    expect(table).toContain("| base | 4.00 ± 0.00 | −78.00 ± 0.00 | −37.00 ± 0.00 |");
    expect(paperTable(both, measure, "total")).toContain("| icdpo | −20.00 ± 0.00 | −20.00 ± 0.00 |");
  });

  it("rank scorers, leaving out prompts that say nothing", () => {
    const common = { set: "s", arm: "p", policy: "p@0" };
    const ranking = [
      { ...common, id: "1", truth: [2, 1, 0], scores: { good: [3, 2, 1], bad: [1, 2, 3] } },
      { ...common, id: "2", truth: [1, 1, 1], scores: { good: [3, 2, 1], bad: [1, 2, 3] } },
      { ...common, id: "3", truth: [0, 1, 2], scores: { good: [1, 2, 3], bad: [3, 2, null] } },
    ];
    const report = rankingReport("Consistency", [{ ...common, id: "0", truth: null, scores: {} }, ...ranking], 3, []);
    expect(report).toContain("p (2 prompts, 1 unreadable)");
    expect(rankingReport("Consistency", ranking, 3, [])).toContain("p (2 prompts)");
    expect(report).toContain("| good | 1.000 (1.000 … 1.000) |");
    expect(report).toContain("| bad | 0.333 (0.333 … 0.333) |");
    expect(report).toContain("0.611");
  });

  it("measure the data's own responses by source and set", () => {
    expect(splitLabel("raw/harmless")).toEqual({ source: "raw", set: "harmless" });
    expect(splitLabel("raw")).toEqual({ source: "raw", set: "" });
    const data = [
      { source: "raw", set: "harmless", id: "1", values: { RM: 24.23 } },
      { source: "raw", set: "helpful", id: "1", values: { RM: -47.63 } },
    ];
    const report = dataReport("Reference results", data, ["Means."]);
    expect(report).toContain("|  | RM, harmless | RM, helpful | RM, Total |");
    expect(report).toContain("| raw | 24.23 (24.23 … 24.23) | −47.63 (−47.63 … −47.63) | −11.70 (−11.70 … −11.70) |");
  });
});

describe("figures", () => {
  const estimate = { value: 0.6, low: 0.5, high: 0.7 };

  it("place points by their values, and write names so that they stay names", () => {
    const svg = dotPlot({
      title: "A <b> & c",
      axis: "share",
      digits: 2,
      reference: 0.5,
      groups: [
        {
          label: "one",
          points: [
            { label: "low", estimate: { value: 0.5, low: 0.4, high: 0.6 } },
            { label: "high", estimate },
            { label: "none", estimate: null },
          ],
        },
      ],
    });
    expect(svg).toContain("A &lt;b&gt; &amp; c");
    expect(svg).not.toContain("<b>");
    const [low, high] = [...svg.matchAll(/<circle fill="[^"]+" cx="([\d.]+)"/gu)].map(([, x]) => Number(x));
    expect(low).toBeLessThan(high as number);
    const dashed = Number(/class="reference" x1="([\d.]+)"/u.exec(svg)?.[1]);
    expect(dashed).toBeCloseTo(low as number, 1);
    expect(svg).not.toContain("NaN");
  });

  it("cut bars by shares", () => {
    const svg = shareBars({
      title: "t",
      axis: "%",
      legend: ["win", "tie", "lose"],
      bars: [
        { label: "a", parts: [1, 0, 3] },
        { label: "b", parts: [0, 0, 0] },
      ],
    });
    const widths = [...svg.matchAll(/<rect x="[\d.]+" y="64" width="([\d.]+)"/gu)].map(([, width]) => Number(width));
    expect(widths).toHaveLength(3);
    expect((widths[2] as number) / (widths[0] as number)).toBeCloseTo(3, 1);
    expect(svg).not.toContain("NaN");
  });

  it("draw lines over a setting", () => {
    const svg = linePlot({
      title: "t",
      x: "shots",
      y: "",
      digits: 2,
      lines: [{ label: "Ŝ", points: [0, 1, 4].map((x) => ({ x, estimate })) }],
    });
    expect([...svg.matchAll(/<circle/gu)]).toHaveLength(3);
    expect(linePlot({ title: "t", x: "", y: "", digits: 1, lines: [] })).not.toContain("NaN");
  });
});
