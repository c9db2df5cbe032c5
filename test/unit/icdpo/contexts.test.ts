/** Contexts with as many demonstrations as fit, and those without any. */
import { describe, expect, it } from "vitest";
import type { Prompt, SampleEvent, SampleRequest } from "../../../src/engine/engine.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { demonstration, icdpo, policy, request, s, sampleCall, says, sHat, table } from "./scripted-policy.ts";

describe("contexts that do not fit", () => {
  const long = [demonstration("near", 1000), demonstration("far", 1000)];
  const scripted = (contextSize: number) => new ScriptedEngine({ contextSize });

  it("drop the least similar demonstration first and say so", async () => {
    const engine = scripted(1500);
    const { demonstrations, fallback } = await icdpo(engine, policy({ score: sHat, demonstrations: long }), request());
    expect(fallback).toBe("context:1-of-2-demonstrations");
    expect(demonstrations.map((kept) => [kept.demonstration.id, kept.similarity])).toEqual([["near", 0.9]]);
    expect(sampleCall(engine).context).toContain("ask-near");
    expect(sampleCall(engine).context).not.toContain("ask-far");
  });

  it("drop demonstrations from C⁺ and C⁻ alike", async () => {
    const engine = scripted(1500);
    await icdpo(engine, policy({ score: sHat, demonstrations: long }), request());
    const negative = engine.calls.find(({ type }) => type === "score")?.context;
    expect(negative).toContain("<system>BAD</system><user>ask-near</user>");
    expect(negative).not.toContain("ask-far");
  });

  it("drop all demonstrations before they give up, the instruction stays", async () => {
    const engine = scripted(500);
    const { demonstrations, fallback } = await icdpo(engine, policy({ score: sHat, demonstrations: long }), request());
    expect(fallback).toBe("context:0-of-2-demonstrations");
    expect(demonstrations).toEqual([]);
    expect(sampleCall(engine).context).toBe("<system>GOOD</system><user>How do magnets work?</user><assistant>");
  });

  it("keep every demonstration where all fit, without a word", async () => {
    const { demonstrations, fallback } = await icdpo(
      scripted(3000),
      policy({ score: sHat, demonstrations: long }),
      request(),
    );
    expect(demonstrations).toHaveLength(2);
    expect(fallback).toBeNull();
  });

  it("count the negative context where it is the longer one", async () => {
    const wordy = [{ ...demonstration("near"), rejected: "r".repeat(1000) }, demonstration("far")];
    const ofPolicy = async (score: unknown) =>
      (await icdpo(scripted(600), policy({ score, demonstrations: wordy }), request())).fallback;
    expect(await ofPolicy(sHat)).toBe("context:0-of-2-demonstrations");
    expect(await ofPolicy(s)).toBeNull();
  });

  it("leave room for the response", async () => {
    // Both demonstrations take somewhat more than 2000 tokens; 1000 more are wanted for the response.
    const roomy = policy({ score: sHat, demonstrations: long, maxTokens: 1000 });
    const { fallback } = await icdpo(scripted(2500), roomy, request({ sampling: { maxTokens: 1000 } }));
    expect(fallback).toBe("context:1-of-2-demonstrations");
  });

  it("are context_length_exceeded when the messages alone are too long", async () => {
    const engine = scripted(30);
    const outcome = icdpo(engine, policy({ score: sHat, demonstrations: long }), request());
    await expect(outcome).rejects.toMatchObject({ code: "context_length_exceeded", param: "messages" });
    expect(engine.calls).toEqual([]);
  });

  it("never make a candidate unscorable because it filled the context after a shorter C⁺", async () => {
    /** As an engine does: a sample ends at the context's end, and what goes beyond it cannot be scored. */
    class BoundedEngine extends ScriptedEngine {
      override async *sample(prompt: Prompt, asked: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
        const room = Math.min(asked.maxTokens, contextSize - prompt.tokens.length);
        const said = new ScriptedEngine({ sample: (index) => ({ text: `${index}`.repeat(room), finish: "length" }) });
        yield* said.sample(prompt, asked, signal);
      }
    }
    const contextSize = 120;
    const wordyNegative = policy({
      score: sHat,
      demonstrations: [],
      instructions: { positive: "GOOD", negative: "BAD".repeat(5) },
    });
    const sum = (context: string, response: string) => {
      if (context.length + response.length > contextSize) throw new GatewayError("context_length_exceeded", "too long");
      return -1;
    };
    const { ranked } = await icdpo(
      new BoundedEngine({ contextSize, sum }),
      wordyNegative,
      request({ sampling: { maxTokens: 500 } }),
    );
    expect(ranked[0]?.score).not.toBeNull();
  });
});

describe("a policy without demonstrations", () => {
  const alone = { score: { type: "none" }, candidates: 1, demonstrations: [], instructions: null } as const;

  it("nor instructions samples after the client's messages alone", async () => {
    const engine = new ScriptedEngine();
    const { demonstrations } = await icdpo(engine, policy(alone), request());
    expect(sampleCall(engine).context).toBe("<user>How do magnets work?</user><assistant>");
    expect(demonstrations).toEqual([]);
  });

  it("but with instructions contrasts them", async () => {
    const engine = new ScriptedEngine({ ...says("fox", "hen"), ...table({ fox: [-1, -2, 0], hen: [-1, -4, 0] }) });
    const { ranked } = await icdpo(engine, policy({ score: sHat, candidates: 2, demonstrations: [] }), request());
    expect(ranked[0]).toMatchObject({ text: "hen", score: expect.closeTo(3) });
  });
});
