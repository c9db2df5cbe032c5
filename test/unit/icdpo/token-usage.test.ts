/** Tokens counted, however a request ends. */
import { describe, expect, it } from "vitest";
import type { Prompt, SampleEvent, SampleRequest } from "../../../src/engine/engine.ts";
import { noUsage, type TokenUsage } from "../../../src/icdpo/token-usage.ts";
import type { PromptFormat } from "../../../src/policy/schema.ts";
import { cancelled, GatewayError } from "../../../src/types/error.ts";
import { quiet, ScriptedEngine } from "../scripted-engine.ts";
import {
  conversation,
  icdpo,
  likelihood,
  measure,
  policy,
  request,
  s,
  says,
  sHat,
  signOf,
  states,
  table,
} from "./scripted-policy.ts";

describe("tokens counted", () => {
  const three = { ...says("aaa", "bb", "bb"), ...table({ aaa: [-1, -2, -3], bb: [-1, -3, -2] }) };
  const base = "<user>How do magnets work?</user><assistant>".length;
  const negative =
    "<system>BAD</system><user>ask-two</user><assistant>two-rrrr</assistant><user>ask-one</user><assistant>one-rrrr</assistant>"
      .length + base;
  const positive = negative + 1;

  it("are those of C⁰ for the prompt, and the hidden work of both contexts, all samples and all scored tokens", async () => {
    const { basePromptTokens, tokens } = await icdpo(new ScriptedEngine(three), policy({ score: sHat }), request());
    expect(basePromptTokens).toBe(base);
    // Two distinct texts were scored, each closed: 4 + 3.
    expect(tokens).toEqual({ prompt: positive + negative, sampled: 3 + 2 + 2, scored: 4 + 3, cached: 0 });
  });

  it("say how many of all contexts' tokens were cached", async () => {
    const cached = (context: string) => ({ positive: 100, negative: 20, base: 3 })[signOf(context)];
    const cachedBy = async (score: unknown, format: PromptFormat = "chat") =>
      (await icdpo(new ScriptedEngine({ ...three, cached }), policy({ score, format }), request())).tokens.cached;
    expect(await cachedBy(sHat)).toBe(120);
    expect(await cachedBy(s)).toBe(103);
    expect(await cachedBy(likelihood)).toBe(100);
    expect(await cachedBy({ type: "none" })).toBe(100);
    // In hh-rlhf a text that lacks its space is fed after C⁺ again.
    expect(await cachedBy(sHat, "hh-rlhf")).toBe(220);
  });

  it("hold no scoring where nothing was scored", async () => {
    const { tokens } = await icdpo(new ScriptedEngine(three), policy({ score: { type: "none" } }), request());
    expect(tokens).toEqual({ prompt: positive, sampled: 7, scored: 0, cached: 0 });
  });

  it("of the returned text do not include its closing token", async () => {
    const { ranked } = await icdpo(new ScriptedEngine(three), policy({ score: sHat }), request());
    expect(ranked[0]?.text).toBe("bb");
    expect((ranked[0]?.idsWithEos.length ?? 0) - 1).toBe(2);
  });
});

describe("token usage", () => {
  const three = { ...says("aaa", "bb", "cccc"), ...table({ aaa: [-1, -2, -3], bb: [-1, -3, -2], cccc: [-5, -1, -1] }) };
  const length = (engine: ScriptedEngine, type: "sample" | "score"): number =>
    engine.calls.filter((call) => call.type === type).reduce((sum, { context }) => sum + context.length, 0);
  const failure = new GatewayError("engine_unavailable", "The engine died.");

  /** Waits to be cancelled. */
  const held = async (signal: AbortSignal | undefined): Promise<void> => {
    if (!signal?.aborted) await new Promise((resolve) => signal?.addEventListener("abort", resolve));
    throw cancelled(signal as AbortSignal);
  };

  /** The request fails; what has been counted then does not change any more. */
  async function counted(fails: (usage: TokenUsage) => Promise<unknown>, code: string): Promise<TokenUsage> {
    const usage = noUsage();
    await expect(fails(usage)).rejects.toMatchObject({ code });
    const then = { ...usage };
    await quiet();
    expect(usage).toEqual(then);
    return usage;
  }

  it("is the outcome's where all went well", async () => {
    const usage = noUsage();
    const { tokens } = await icdpo(new ScriptedEngine(three), policy({ score: sHat }), request({ usage }));
    expect(tokens).toEqual(usage);
    expect(usage).toMatchObject({ sampled: 9, scored: 4 + 3 + 5 });
  });

  it("is none where the engine had not begun", async () => {
    class WaitingEngine extends ScriptedEngine {
      override async *sample(
        _prompt: Prompt,
        _request: SampleRequest,
        signal?: AbortSignal,
      ): AsyncGenerator<SampleEvent> {
        await held(signal);
        yield { type: "prompt", cached: 0 };
      }
    }
    const leave = new AbortController();
    const usage = await counted((usage) => {
      setTimeout(() => leave.abort());
      return icdpo(new WaitingEngine(), policy({ score: sHat }), request({ usage, signal: leave.signal }));
    }, "cancelled");
    expect(usage).toEqual(noUsage());
  });

  it("is what had been fed where the client left during the prefill", async () => {
    const leave = new AbortController();
    function* prefill(): Generator<number> {
      yield 10;
      yield 20;
      leave.abort();
      yield 30;
    }
    const engine = new ScriptedEngine({ ...three, prefill });
    const usage = await counted(
      (usage) => icdpo(engine, policy({ score: sHat }), request({ usage, signal: leave.signal })),
      "cancelled",
    );
    expect(usage).toEqual({ prompt: 20, cached: 0, sampled: 0, scored: 0 });
  });

  it("is the same whether the engine tells of the prefill or not", async () => {
    const [told, untold] = [noUsage(), noUsage()];
    const prefill = () => [10, 20, 30];
    await icdpo(
      new ScriptedEngine({ ...three, prefill, cached: () => 5 }),
      policy({ score: sHat }),
      request({ usage: told }),
    );
    await icdpo(new ScriptedEngine({ ...three, cached: () => 5 }), policy({ score: sHat }), request({ usage: untold }));
    expect(told).toEqual(untold);
  });

  it("is what had been shown where the client left in the middle of it", async () => {
    const leave = new AbortController();
    class BreakingEngine extends ScriptedEngine {
      override async *sample(
        _prompt: Prompt,
        _request: SampleRequest,
        signal?: AbortSignal,
      ): AsyncGenerator<SampleEvent> {
        yield { type: "prompt", cached: 30 };
        for (const [index, text] of ["Mag", "Th", "nets"].entries())
          yield { type: "text", index: index % 2, text, tokens: text.length };
        leave.abort();
        await held(signal);
      }
    }
    const shown: string[] = [];
    const onText = (_: number, text: string) => void shown.push(text);
    const plain = policy({ score: { type: "none" }, candidates: 2, demonstrations: [], instructions: null });
    const usage = await counted(
      (usage) => icdpo(new BreakingEngine(), plain, request({ usage, signal: leave.signal, answers: 2, onText })),
      "cancelled",
    );
    expect(usage).toEqual({
      prompt: "<user>How do magnets work?</user><assistant>".length,
      cached: 30,
      sampled: 9,
      scored: 0,
    });
    expect(shown.join("")).toHaveLength(9);
  });

  it("is every sample and the completions that had been scored where scoring fails", async () => {
    // The first completion is scored after C⁻ before the second fails; the third is never handed over.
    const pause = async (what: "sample" | "score", _: AbortSignal | undefined, index: number): Promise<void> => {
      if (what === "score" && index === 1) throw failure;
    };
    const engine = new ScriptedEngine({ ...three, pause });
    const usage = await counted(
      (usage) => icdpo(engine, policy({ score: sHat }), request({ usage })),
      "engine_unavailable",
    );
    expect(usage.prompt).toBe(length(engine, "sample") + length(engine, "score"));
    expect(usage.scored).toBe("aaa".length + 1);
    expect(usage.sampled).toBeGreaterThanOrEqual(5);
    expect(usage.sampled).toBeLessThanOrEqual(9);
  });

  it("adds up where a request is made once more with the same count", async () => {
    let died = false;
    const pause = async (): Promise<void> => {
      if (!died) {
        died = true;
        throw failure;
      }
    };
    const plain = policy({ score: { type: "none" }, candidates: 1 });
    const engine = new ScriptedEngine({ ...three, pause });
    const usage = await counted((usage) => icdpo(engine, plain, request({ usage })), "engine_unavailable");
    await icdpo(engine, plain, request({ usage }));
    expect(usage).toEqual({ prompt: length(engine, "sample"), cached: 0, sampled: 3, scored: 0 });
  });

  it("of blocks is that of all that were sampled and scored, and ends with the request", async () => {
    const { settings, ...rest } = policy({ score: sHat });
    const inBlocks = { ...rest, settings: { ...settings, block: { tokens: 4 } } };
    const usage = noUsage();
    const engine = new ScriptedEngine(three);
    const { tokens } = await icdpo(engine, inBlocks, request({ usage }));
    expect(tokens).toEqual(usage);
    expect(usage.sampled).toBe(9);
    let calls = 0;
    const failing = new ScriptedEngine({
      ...three,
      pause: async (what) => {
        if (what === "score" && calls++ === 0) throw failure;
      },
    });
    const failed = await counted((usage) => icdpo(failing, inBlocks, request({ usage })), "engine_unavailable");
    expect(failed).toMatchObject({ sampled: 9, scored: 0 });
    expect(states(failing)).not.toContain("score open");
  });

  it("of given completions is that of each context begun, and of each completion scored", async () => {
    const completions = ["aaa", "bb"];
    const measured = async (engine: ScriptedEngine, usage: TokenUsage) =>
      measure(engine, policy({ score: sHat }), { conversation, completions, seed: 1, usage });
    const whole = new ScriptedEngine(three);
    const usage = noUsage();
    await measured(whole, usage);
    expect(usage).toEqual({ prompt: length(whole, "score"), cached: 0, sampled: 0, scored: 3 * (4 + 3) });
    let scored = 0;
    const pause = async (what: "sample" | "score"): Promise<void> => {
      if (what === "score" && ++scored === 4) throw failure;
    };
    const failing = new ScriptedEngine({ ...three, pause });
    const failed = await counted((usage) => measured(failing, usage), "engine_unavailable");
    // The first completion after each of the three contexts, the second after two of them.
    expect(failed).toEqual({ prompt: length(failing, "score"), cached: 0, sampled: 0, scored: 3 * 4 + 2 * 3 });
    expect(states(failing).filter((state) => state.endsWith("open"))).toEqual([]);
    expect(failing.calls).toHaveLength(3);
  });
});
