/** How much a candidate says what the others say. */
import { describe, expect, it } from "vitest";
import { onlyEngine } from "../../../src/engine/engines.ts";
import { chatCompletionSchema } from "../../../src/http/answer-schemas.ts";
import { consensusOf } from "../../../src/icdpo/consensus.ts";
import { buildPolicySet } from "../../../src/policy/build.ts";
import { overridden } from "../../../src/policy/overrides.ts";
import type { Embedder } from "../../../src/retrieval/retriever.ts";
import { cancelled, GatewayError } from "../../../src/types/error.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { gateway } from "../scripted-gateway.ts";
import { icdpo, measure, policy, request, type Sums, says, sHat, table } from "./scripted-policy.ts";

/** Texts that begin alike say the same; others are at right angles. */
function embedderOf(letters = "fho"): Embedder & { readonly calls: string[][] } {
  const calls: string[][] = [];
  const embed = async (texts: readonly string[]) => {
    calls.push([...texts]);
    return texts.map((text) => Float32Array.from(letters, (letter) => Number(text.startsWith(letter))));
  };
  return { model: "letters", embed, embedKept: embed, calls };
}

const sums: Sums = { fox: [-10, -11, -30], hen: [-12, -20, -15], frog: [-9, -12, -10], owl: [-9, -9.5, -10] };
const script = (...texts: string[]) => ({ ...says(...texts), ...table(sums) });
const agreeing = { ...sHat, consensus: 12 } as const;

describe("consensus", () => {
  it("is the mean cosine to the other candidates", async () => {
    const embedder = embedderOf();
    expect(await consensusOf(["fox", "hen", "frog"], embedder)).toEqual([0.5, 0, 0.5]);
    expect(await consensusOf(["fox", "fox", "hen"], embedder)).toEqual([0.5, 0.5, 0]);
    expect(embedder.calls).toEqual([
      ["fox", "hen", "frog"],
      ["fox", "hen"],
    ]);
  });

  it("is nobody's where there are no others: an empty candidate is none", async () => {
    const embedder = embedderOf();
    expect(await consensusOf(["fox", "", ""], embedder)).toEqual([null, null, null]);
    expect(embedder.calls).toEqual([]);
    expect(await consensusOf(["fox", "", "frog"], embedder)).toEqual([1, null, 1]);
  });

  it("adds λ nats for a cosine of 1 to the scores", async () => {
    const engine = new ScriptedEngine(script("fox", "hen", "frog"));
    const agreed = { ...policy({ score: agreeing }), embedder: embedderOf() };
    const { ranked } = await icdpo(engine, agreed, request());
    expect(ranked.map(({ text, consensus, score }) => [text, consensus, score])).toEqual([
      ["frog", 0.5, expect.closeTo(3 + 6)],
      ["hen", 0, expect.closeTo(8)],
      ["fox", 0.5, expect.closeTo(1 + 6)],
    ]);
  });

  it("is asked for by policies that say so only", async () => {
    const embedder = embedderOf();
    const outcome = await icdpo(
      new ScriptedEngine(script("fox", "hen", "frog")),
      { ...policy({ score: { ...sHat, consensus: 0 } }), embedder },
      request(),
    );
    expect(outcome.ranked[0]).toMatchObject({ text: "hen", score: expect.closeTo(8) });
    expect(outcome.ranked[0]).not.toHaveProperty("consensus");
    expect(embedder.calls).toEqual([]);
  });

  it("counts for given completions as well", async () => {
    const asked = { conversation: request().conversation, completions: ["hen", "fox", "frog"], seed: 1 };
    const agreed = { ...policy({ score: { ...sHat, consensus: 20 } }), embedder: embedderOf() };
    expect((await measure(new ScriptedEngine(script()), agreed, asked)).chosen).toBe(2);
  });

  it("fails the request where the embeddings fail", async () => {
    const broken: Embedder = {
      ...embedderOf(),
      embed: () => Promise.reject(new GatewayError("engine_unavailable", "away")),
    };
    const outcome = icdpo(
      new ScriptedEngine(script("fox", "hen", "frog")),
      { ...policy({ score: agreeing }), embedder: broken },
      request(),
    );
    await expect(outcome).rejects.toMatchObject({ code: "engine_unavailable" });
    await expect(
      icdpo(new ScriptedEngine(script("fox", "hen", "frog")), policy({ score: agreeing }), request()),
    ).rejects.toMatchObject({ code: "configuration" });
  });

  it("is left out, and said to be, where the budget is spent meanwhile", async () => {
    const budget = new AbortController();
    const slow: Embedder = {
      ...embedderOf(),
      async embed(_, signal) {
        budget.abort();
        throw cancelled(signal as AbortSignal);
      },
    };
    const { ranked, fallback } = await icdpo(
      new ScriptedEngine(script("fox", "hen", "frog")),
      { ...policy({ score: agreeing }), embedder: slow },
      request({ budget: budget.signal }),
    );
    expect(fallback).toBe("budget");
    expect(ranked[0]).toMatchObject({ text: "hen", score: expect.closeTo(8) });
  });
});

describe("a policy with a consensus", () => {
  const file = (more = "") => `instructions: {}\nscore:\n  type: contrast\n  negative: base\n  consensus: 2\n${more}`;
  const build = (text: string, embedder: () => Promise<Embedder>) =>
    buildPolicySet(
      { policies: new Map([["p", text]]), routes: "routes: { r: { policy: p } }", demonstrations: new Map() },
      { engines: onlyEngine(new ScriptedEngine()), embedder },
    );
  const idOf = async (embedder: Embedder) => (await build(file(), async () => embedder)).policies.get("p")?.id;

  it("has the embedding model in its hash", async () => {
    expect(await idOf(embedderOf())).toBe(await idOf(embedderOf()));
    expect(await idOf({ ...embedderOf(), model: "words" })).not.toBe(await idOf(embedderOf()));
  });

  it.each([
    ["candidates: 1\n", "policies/p.yaml:5: score.consensus: one candidate has no others"],
    ["block: { tokens: 4 }\n", "policies/p.yaml:5: score.consensus: blocks of one answer have its beginning in common"],
  ])("is refused by its line with %s", async (more, complaint) => {
    await expect(build(file(more), async () => embedderOf())).rejects.toThrow(complaint);
  });

  it("is refused by its line where no embedding model can be had", async () => {
    const none = () => Promise.reject(new GatewayError("configuration", "No embeddings here."));
    await expect(build(file(), none)).rejects.toThrow("policies/p.yaml:5: score.consensus: No embeddings here.");
    const away = () => Promise.reject(new GatewayError("engine_unavailable", "away"));
    await expect(build(file(), away)).rejects.toMatchObject({ code: "engine_unavailable", message: "away" });
  });

  it("may be what a request changes, where the policy has embeddings", async () => {
    const plain = policy({ score: sHat });
    const score = { ...plain.settings.score, consensus: 2 } as typeof plain.settings.score;
    await expect(overridden(plain, { score })).rejects.toMatchObject({
      code: "invalid_request",
      param: "icdpo.overrides.score.consensus",
    });
    expect((await overridden({ ...plain, embedder: embedderOf() }, { score })).settings.score).toEqual(score);
  });

  it("explains each candidate's", async () => {
    const { chat } = await gateway({}, {}, { agreed: file() }, undefined, async () => embedderOf("C"));
    const answer = await (await chat({ model: "agreed", icdpo: { explain: true } })).json();
    expect(chatCompletionSchema.parse(answer).icdpo?.candidates.map(({ consensus }) => consensus)).toEqual([1, 1, 1]);
  });
});
