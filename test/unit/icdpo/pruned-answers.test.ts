/** Candidates that are dropped while they are sampled. */
import { describe, expect, it } from "vitest";
import { chatCompletionSchema } from "../../../src/http/answer-schemas.ts";
import type { IcdpoOutcome } from "../../../src/icdpo/pipeline.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { gateway } from "../scripted-gateway.ts";
import { said, writing } from "./lettered-answers.ts";
import {
  demonstration,
  icdpo,
  likelihood,
  policy,
  request,
  samplingBy,
  sHat,
  states,
  unhandledRejections,
} from "./scripted-policy.ts";

const four = { a: { gain: 0.1 }, b: { gain: 0.4 }, c: { gain: 0.3 }, d: { gain: 0.2 } };
const prune = { every: 4, keep: 0.5 };
const pruning = (more: object = {}, score: object = sHat) => policy({ score, candidates: 4, prune, ...more });

/** `[calls]`: what each was given to go on from, and how far. */
function parts(engine: ScriptedEngine): string[] {
  return engine.calls.flatMap((call) =>
    call.type === "sample" ? [`${said(call.context)} ${call.request.seeds.length}×${call.request.maxTokens}`] : [],
  );
}

const summaryOf = ({ ranked }: IcdpoOutcome) =>
  ranked.map(({ text, score, dropped }) => [text, score, dropped] as const);

describe("pruning", () => {
  it("drops the worst beginnings after each few tokens, and samples the rest on", async () => {
    const engine = new ScriptedEngine(writing(four));
    const outcome = await icdpo(engine, pruning(), request());
    expect(parts(engine)).toEqual([" 4×4", "bbbb 1×4", "cccc 1×4", "bbbbbbbb 1×12"]);
    expect(outcome).toMatchObject({ kept: [2, 1], waves: null, fallback: null, candidates: 4 });
    expect(summaryOf(outcome)).toEqual([
      ["b".repeat(10), expect.closeTo(11 * 0.4), undefined],
      ["c".repeat(8), expect.closeTo(8 * 0.3), { after: 8, place: 2, among: 2 }],
      ["dddd", expect.closeTo(4 * 0.2), { after: 4, place: 3, among: 4 }],
      ["aaaa", expect.closeTo(4 * 0.1), { after: 4, place: 4, among: 4 }],
    ]);
  });

  it("gives the winner the sums and the score that it has where nothing is dropped", async () => {
    const pruned = await icdpo(new ScriptedEngine(writing(four)), pruning(), request());
    const whole = await icdpo(new ScriptedEngine(writing(four)), policy({ score: sHat, candidates: 4 }), request());
    const [{ positive = null, negative = null, text } = {}] = pruned.ranked;
    expect(whole.ranked[0]).toMatchObject({
      text,
      positive: expect.closeTo(positive ?? 0),
      negative: expect.closeTo(negative ?? 0),
    });
  });

  it("feeds C⁻ what is new of each beginning, after what it was fed before, and counts every token", async () => {
    const engine = new ScriptedEngine(writing(four));
    const { tokens } = await icdpo(engine, pruning(), request());
    const fed = engine.calls.flatMap((call) =>
      call.type === "score" ? call.responses.map((response) => [said(call.context), response.length + 1]) : [],
    );
    // A response of the scripted engine is without its last token.
    expect(fed).toEqual([
      ["", 4],
      ["", 4],
      ["", 4],
      ["", 4],
      ["bbbb", 4],
      ["cccc", 4],
      ["bbbbbbbb", 3],
    ]);
    expect(tokens).toMatchObject({ sampled: 16 + 8 + 2, scored: 16 + 8 + 3 });
    expect(tokens.prompt - tokens.cached + tokens.sampled + tokens.scored).toBe(engine.worked);
  });

  it("lets a candidate that ends early take its place by its own score, and win", async () => {
    const engine = new ScriptedEngine(writing({ ...four, d: { gain: 2, length: 2 } }));
    const outcome = await icdpo(engine, pruning(), request());
    // d has 3 × 2 with its end; b and d stay, then d alone.
    expect(outcome.kept).toEqual([2, 1]);
    expect(summaryOf(outcome).map(([text, , dropped]) => [text, dropped?.after])).toEqual([
      ["dd", undefined],
      ["b".repeat(8), 8],
      ["cccc", 4],
      ["aaaa", 4],
    ]);
  });

  it("never drops one that has ended: it steps aside, and competes at the end", async () => {
    // a stays at the first comparison, and is passed by b at the second.
    const script = writing({ a: { gain: 0.5, length: 2 }, b: { gain: 0.4 }, c: { gain: 0.3 }, d: { gain: 0.2 } });
    const outcome = await icdpo(new ScriptedEngine(script), pruning(), request());
    expect(summaryOf(outcome).map(([text, score, dropped]) => [text, score, dropped?.after])).toEqual([
      ["b".repeat(10), expect.closeTo(4.4), undefined],
      ["aa", expect.closeTo(1.5), undefined],
      ["cccc", expect.closeTo(1.2), 4],
      ["dddd", expect.closeTo(0.8), 4],
    ]);
    expect(outcome.kept).toEqual([2, 1]);
  });

  it("keeps as many as answers are wanted, and samples on to the end where nobody would be dropped", async () => {
    const engine = new ScriptedEngine(writing(four));
    const outcome = await icdpo(engine, pruning(), request({ answers: 3 }));
    expect(parts(engine)).toEqual([" 4×4", "bbbb 1×16", "cccc 1×16", "dddd 1×16"]);
    expect(outcome.kept).toEqual([3]);
    expect(outcome.ranked.slice(0, 3).map(({ text }) => text[0])).toEqual(["b", "c", "d"]);
    const all = new ScriptedEngine(writing(four));
    expect((await icdpo(all, pruning(), request({ answers: 4 }))).kept).toEqual([]);
    expect(parts(all)).toEqual([" 4×20"]);
  });

  it("compares per token where the policy does, and less what a token adds", async () => {
    // By its sum the long one leads at the second comparison, by its mean the one that has ended.
    const letters = { a: { gain: 0.5, length: 2 }, b: { gain: 0.3 }, c: { gain: 0.1 }, d: { gain: 0.2 } };
    const winner = async (normalize: string) => {
      const outcome = await icdpo(new ScriptedEngine(writing(letters)), pruning({}, { ...sHat, normalize }), request());
      return [outcome.ranked[0]?.text[0], outcome.natsPerToken] as const;
    };
    expect(await winner("sum")).toEqual(["b", null]);
    expect(await winner("token")).toEqual(["a", null]);
    const [text, natsPerToken] = await winner("length");
    expect(text).toBe("a");
    expect(natsPerToken).toBeGreaterThan(0);
  });

  it("ends at stop strings, wherever parts meet", async () => {
    const engine = new ScriptedEngine(writing(four));
    const outcome = await icdpo(engine, pruning(), request({ sampling: { stop: ["bbbbb"] } }));
    expect(outcome.ranked.find(({ text }) => text === "")).toMatchObject({ finish: "stop", stopString: "bbbbb" });
    expect(outcome.ranked[0]?.text).toBe("c".repeat(10));
  });

  it("does not measure what is empty, which wins only if all are", async () => {
    const script = writing({ a: { gain: 9, length: 0 }, b: { gain: 0.1, length: 3 } });
    const outcome = await icdpo(new ScriptedEngine(script), pruning({ candidates: 2 }), request());
    expect(summaryOf(outcome)).toEqual([
      ["bbb", expect.closeTo(0.4), undefined],
      ["", null, undefined],
    ]);
    const empty = new ScriptedEngine(writing({ a: { gain: 1, length: 0 }, b: { gain: 1, length: 0 } }));
    const all = await icdpo(empty, pruning({ candidates: 2 }), request());
    expect(all.ranked.map(({ text }) => text)).toEqual(["", ""]);
    expect(states(empty).filter((state) => state.endsWith("open"))).toEqual([]);
  });

  it("scores by another model in its own tokens, all of the text each time", async () => {
    const [engine, teacher] = [new ScriptedEngine(writing(four)), new ScriptedEngine(writing(four))];
    const { format, ...rest } = pruning({ candidates: 2 });
    const { icdpo: run } = await import("../../../src/icdpo/pipeline.ts");
    const models = { ...samplingBy(engine, format), scorer: { engine: teacher, format } };
    const outcome = await run({ ...rest, ...models }, request());
    expect(summaryOf(outcome)).toEqual([
      ["b".repeat(10), expect.closeTo(4.4), undefined],
      ["aaaa", expect.closeTo(0.4), { after: 4, place: 2, among: 2 }],
    ]);
    const fed = teacher.calls.flatMap((call) =>
      call.type === "score" ? call.responses.map(({ length }) => length) : [],
    );
    expect(fed.toSorted((a, b) => a - b)).toEqual([3, 3, 3, 3, 10, 10]);
    expect(engine.calls.every(({ type }) => type === "sample")).toBe(true);
  });

  it("takes a likelihood as well, which costs no second pass", async () => {
    const engine = new ScriptedEngine(writing(four));
    const outcome = await icdpo(engine, pruning({}, likelihood), request());
    // All are as likely: the lower index stays.
    expect(outcome.ranked[0]?.text).toBe("a".repeat(10));
    expect(outcome.tokens.scored).toBe(0);
  });

  it.each([
    ["a grammar", { grammar: "root ::= [a-d]*" }],
    ["log-probabilities", { topLogprobs: 0 }],
    ["a penalty on what the answer holds already", { sampling: { presencePenalty: 0.5 } }],
  ])("is left out for requests with %s", async (_, asked) => {
    const engine = new ScriptedEngine(writing(four));
    const outcome = await icdpo(engine, pruning(), request(asked));
    expect(parts(engine)).toEqual([" 4×20"]);
    expect(outcome.kept).toBeUndefined();
  });

  it("has other seeds in each part, the same ones for the same request", async () => {
    const seeds = async () => {
      const engine = new ScriptedEngine(writing(four));
      await icdpo(engine, pruning(), request());
      return engine.calls.flatMap((call) => (call.type === "sample" ? call.request.seeds : []));
    };
    const first = await seeds();
    expect(new Set(first).size).toBe(first.length);
    expect(await seeds()).toEqual(first);
  });
});

describe("a budget of time", () => {
  it("that ends while candidates go on cuts them off, and the last comparison decides", async () => {
    const budget = new AbortController();
    let begun = 0;
    const script = writing(four, {
      pause: async (what, signal) => {
        if (what !== "sample" || ++begun <= 4) return;
        budget.abort();
        await new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }));
      },
    });
    const outcome = await icdpo(new ScriptedEngine(script), pruning(), request({ budget: budget.signal }));
    expect(outcome).toMatchObject({ fallback: "budget", kept: [2] });
    expect(summaryOf(outcome).slice(0, 2)).toEqual([
      ["bbbb", expect.closeTo(1.6), undefined],
      ["cccc", expect.closeTo(1.2), undefined],
    ]);
    expect(outcome.ranked[0]).toMatchObject({ finish: "length", sample: null });
  });

  it("that ends while C⁻ is fed keeps what has been sampled", async () => {
    const budget = new AbortController();
    let fed = 0;
    const script = writing(four, {
      pause: async (what, signal) => {
        if (what !== "score" || ++fed <= 4) return;
        budget.abort();
        await new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }));
      },
    });
    const outcome = await icdpo(new ScriptedEngine(script), pruning(), request({ budget: budget.signal }));
    expect(outcome.fallback).toBe("budget");
    expect(outcome.ranked[0]).toMatchObject({ text: "b".repeat(8), score: expect.closeTo(1.6), finish: "length" });
  });
});

describe("a failure", () => {
  it.each([
    ["of a part stops the others", "sample", 5],
    ["of a score is the request's error", "score", 5],
    ["of the first score is the request's error", "score", 1],
  ])("%s", async (_, kind, at) => {
    let calls = 0;
    const engine = new ScriptedEngine(
      writing(four, {
        pause: async (what) => {
          if (what === kind && ++calls === at) throw new GatewayError("engine_failure", "gone");
        },
      }),
    );
    const unhandled = await unhandledRejections(() =>
      expect(icdpo(engine, pruning(), request())).rejects.toMatchObject({ code: "engine_failure" }),
    );
    expect(unhandled).toEqual([]);
    expect(states(engine).filter((state) => state.endsWith("open"))).toEqual([]);
  });
});

describe("over HTTP", () => {
  const file =
    "candidates: 4\ninstructions: { positive: GOOD, negative: BAD }\nscore: { type: contrast, negative: rejected }\nprune: { every: 4 }\n";

  it("explains what was dropped, and where; the usage is the answer's", async () => {
    const { chat } = await gateway(writing(four), {}, { pruned: file });
    const response = await chat({ model: "pruned", icdpo: { explain: true } });
    expect(response.headers.get("x-icdpo-candidates")).toBe("4");
    const { icdpo, choices, usage } = chatCompletionSchema.parse(await response.json());
    expect(choices[0]?.message.content).toBe("b".repeat(10));
    expect(usage.completion_tokens).toBe(10);
    expect(icdpo?.kept).toEqual([2, 1]);
    expect(icdpo?.candidates.map(({ tokens, chosen, dropped }) => [tokens, chosen, dropped?.after])).toEqual([
      [4, false, 4],
      [11, true, undefined],
      [8, false, 8],
      [4, false, 4],
    ]);
  });

  it("streams the winner when it is known, where streams show whole answers", async () => {
    const { chat } = await gateway(writing(four), {}, { pruned: `${file}stream: whole\n` });
    const text = await (await chat({ model: "pruned", stream: true })).text();
    expect(text).toContain("b".repeat(10));
    expect(text).not.toContain("aaaa");
  });

  it("goes together with streams by blocks: whole answers are pruned", async () => {
    const { chat, engine } = await gateway(writing(four), {}, { pruned: `${file}stream: blocks\n` });
    await (await chat({ model: "pruned", stream: true })).text();
    expect(parts(engine)).toEqual([" 4×8", "b".repeat(8).concat(" 4×16")]);
    await chat({ model: "pruned" });
    expect(parts(engine).slice(2, 4)).toEqual([" 4×4", "bbbb 1×4"]);
  });
});

describe("in a policy", () => {
  it("has its defaults, and the rest of the policy its meaning", () => {
    const { settings } = policy({ score: sHat, candidates: 8, demonstrations: [demonstration("one")] });
    expect(settings.prune).toBeUndefined();
    expect(JSON.stringify(settings)).not.toMatch(/prune|stream|block/u);
  });
});
