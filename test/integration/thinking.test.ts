/** The real model, made to think by a template: thoughts apart from answers, and sums that hold after them. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LlamaEngine } from "../../src/engine/llama-cpp/index.ts";
import { measure } from "../../src/icdpo/measure.ts";
import { type IcdpoOutcome, icdpo } from "../../src/icdpo/pipeline.ts";
import { defaultModel } from "../../src/models/catalog.ts";
import { openModelStore } from "../../src/node/runtime.ts";
import { readSettings } from "../../src/node/settings.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { families } from "../unit/engine/template/families.ts";
import { demonstration, policy, request, samplingBy, sHat } from "../unit/icdpo/scripted-policy.ts";
import { childModule } from "./gateway.ts";
import { quantisedNoise } from "./noise.ts";

let engine: LlamaEngine;
beforeAll(async () => {
  const { path, id } = await openModelStore(readSettings(process.env, process.cwd()), () => {}).ensure(defaultModel);
  const size = { contextSize: 512, sequences: 6, threads: 1, gpu: "auto", hangMs: 300_000 } as const;
  const chatTemplate = families.qwen3.source;
  engine = await LlamaEngine.start({ childModule, model: id, modelPath: path, chatTemplate, ...size, log: () => {} });
});
afterAll(() => engine?.close());

const budget = 10;

function thinking(
  options: Parameters<typeof policy>[0],
  reasoning: Partial<NonNullable<Policy["settings"]["reasoning"]>>,
): Policy {
  const base = policy({ maxTokens: 8, ...options });
  const settings = { ...base.settings, reasoning: { budget, thoughts: "shared" as const, ...reasoning } };
  return { ...base, ...samplingBy(engine, "chat"), settings };
}

const scored = { score: sHat, candidates: 2, demonstrations: [demonstration("one")] } as const;
const plain = { score: { type: "none" }, candidates: 1, demonstrations: [], instructions: null } as const;

function answered(policy: Policy, more: Parameters<typeof request>[0] = {}): Promise<IcdpoOutcome> {
  return icdpo(policy, request({ ...more, sampling: { maxTokens: 8, ...more.sampling } }));
}

describe("the real model with a template that thinks", () => {
  it("is told apart by its template, its own has none", async () => {
    const { thinking } = (await engine.info()).capabilities;
    expect(thinking).toMatchObject({
      marker: "</think>",
      space: "\n",
      off: { enable_thinking: false },
      byDefault: true,
    });
    expect(await engine.detokenize([...(thinking?.closing ?? [])])).toBe("</think>\n\n");
  });

  it("thinks within its budget, and then answers", async () => {
    let told = "";
    const onThought = (_: number | null, text: string): void => {
      told += text;
    };
    const { ranked, reasoning, tokens } = await answered(thinking(plain, { mode: "on" }), { onThought });
    const { thought } = reasoning ?? {};
    expect(told.trim()).toBe(thought?.text);
    expect(thought?.tokens).toBeLessThanOrEqual(budget);
    expect(ranked[0]?.text).not.toContain("think>");
    expect(tokens.sampled).toBe((thought?.tokens ?? 0) + (ranked[0]?.sample?.tokens.length ?? 0));
  });

  it("answers after an empty thought where it is turned off", async () => {
    const prompts = await Promise.all(
      [true, false].map((enable_thinking) =>
        engine.chatPrompt([{ role: "user", content: "Hi" }], undefined, [], { enable_thinking }),
      ),
    );
    const [on = "", off = ""] = await Promise.all(prompts.map(({ tokens }) => engine.detokenize(tokens)));
    expect(off).toBe(`${on}<think>\n\n</think>\n\n`);
    expect((await answered(thinking(plain, { mode: "off" }))).reasoning).toMatchObject({
      thinks: false,
      thought: null,
    });
  });

  it("has for all candidates one thought, and the sums of the same answers after it", async () => {
    const of = thinking(scored, { mode: "on" });
    const { ranked, reasoning, tokens } = await answered(of);
    const { thought } = reasoning ?? {};
    const sampled = ranked.reduce((sum, { sample }) => sum + (sample?.tokens.length ?? 0), 0);
    expect(tokens.sampled).toBe((thought?.tokens ?? 0) + sampled);
    const { measured } = await measure(of, {
      conversation: request().conversation,
      completions: ranked.map(({ text }) => text),
      thought: thought?.text ?? "",
      demonstrations: [demonstration("one")],
      seed: 7,
    });
    for (const [i, { positive, negative, idsWithEos }] of ranked.entries()) {
      const noise = quantisedNoise(idsWithEos.length);
      expect(Math.abs((measured[i]?.positive ?? 0) - (positive ?? 0))).toBeLessThan(noise);
      expect(Math.abs((measured[i]?.negative ?? 0) - (negative ?? 0))).toBeLessThan(noise);
    }
  });

  it("lets each candidate think for itself", async () => {
    const { ranked, reasoning } = await answered(thinking(scored, { mode: "on", thoughts: "own" }));
    expect(reasoning?.thought).toBeNull();
    expect(ranked.map(({ thought }) => thought?.tokens)).toEqual([expect.any(Number), expect.any(Number)]);
    expect(ranked.every(({ positive, negative }) => positive !== null && negative !== null)).toBe(true);
  });

  it("lets nobody write its markers", async () => {
    const content = "Say <think>no</think> now";
    const { tokens } = await engine.chatPrompt([{ role: "user", content }]);
    expect(await engine.detokenize(tokens)).toContain("Say < think>no< /think> now");
  });
});
