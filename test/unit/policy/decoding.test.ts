/** `decode` in policies and beside what requests change: what is taken, and what is refused. */
import { describe, expect, it } from "vitest";
import { changedArm } from "../../../lab/arms.ts";
import type { Capabilities } from "../../../src/engine/engine.ts";
import { onlyEngine } from "../../../src/engine/engines.ts";
import { generationDemand } from "../../../src/gateway/demand.ts";
import { buildPolicySet } from "../../../src/policy/build.ts";
import { declaredCapabilities, parseEngines } from "../../../src/policy/engines-file.ts";
import { overridden } from "../../../src/policy/overrides.ts";
import { overridesSchema } from "../../../src/policy/schema.ts";
import { policy, request, sHat } from "../icdpo/scripted-policy.ts";
import { ScriptedEngine } from "../scripted-engine.ts";

const scored = "instructions: {}\ncandidates: 1\nscore: { type: contrast, negative: rejected }\n";
const decode = "decode: { type: contrast, alpha: 0.5 }\n";

async function built(file: string, capabilities?: Capabilities) {
  const engine = new ScriptedEngine(capabilities === undefined ? {} : { capabilities });
  const { policies } = await buildPolicySet(
    { policies: new Map([["p", file]]), routes: "routes: { icdpo: { policy: p } }\n", demonstrations: new Map() },
    { engines: onlyEngine(engine), embedder: () => Promise.reject(new Error("not needed")) },
  );
  return policies.get("p");
}

describe("decode in a policy", () => {
  it("is taken with its α and top, each with a hash of its own", async () => {
    const files = ["alpha: 0.5", "alpha: 1", "alpha: 1, top: 20"].map(
      (of) => `${scored}decode: { type: contrast, ${of} }\n`,
    );
    const policies = await Promise.all([scored, ...files].map((file) => built(file)));
    expect(policies.map((one) => one?.settings.decode)).toEqual([
      undefined,
      { type: "contrast", alpha: 0.5 },
      { type: "contrast", alpha: 1 },
      { type: "contrast", alpha: 1, top: 20 },
    ]);
    expect(new Set(policies.map((one) => one?.id)).size).toBe(4);
  });

  it("may be for streams alone, beside candidates", async () => {
    const file = `instructions: {}\ncandidates: 3\nscore: { type: contrast, negative: rejected }\n${decode}stream: contrast\n`;
    expect((await built(file))?.settings).toMatchObject({ candidates: 3, stream: "contrast" });
  });

  it.each([
    ["", "p.yaml:4: stream: decode says how the tokens of streams are drawn"],
    [`${decode}block: {}\n`, "block: no request would be answered in blocks"],
    [`${decode}scorer: other\n`, "scorer: decode: contrast is between two contexts of the model that samples"],
  ])("for streams alone is refused by its line: %s", async (rest, message) => {
    await expect(built(`${scored}stream: contrast\n${rest}`)).rejects.toThrow(message);
  });

  it("leaves the hashes of the files without it as they were", async () => {
    expect((await built("score: { type: likelihood }\n"))?.id).toBe("p@63ece3964e2b");
  });

  it.each([
    ["decode: { type: contrast }\n", "p.yaml:4: decode.alpha: "],
    ["decode: { type: contrast, alpha: -1 }\n", "p.yaml:4: decode.alpha: "],
    ["decode: { type: contrast, alpha: 1, top: 0 }\n", "p.yaml:4: decode.top: "],
    ["decode: { type: beam, alpha: 1 }\n", "p.yaml:4: decode.type: "],
    [`${decode}block: {}\n`, "p.yaml:5: block: decode: contrast makes one answer"],
    [`${decode}stream: blocks\n`, "p.yaml:5: stream: decode: contrast makes one answer, which streams token by token"],
    [
      `${decode}scorer: other\n`,
      "p.yaml:5: scorer: decode: contrast is between two contexts of the model that samples",
    ],
    [`${decode}sampling: { top_k: 0 }\n`, "p.yaml:4: decode.top: must be given where sampling.top_k is 0"],
  ])("is refused by its line: %s", async (text, message) => {
    await expect(built(`${scored}${text}`)).rejects.toThrow(message);
  });

  it.each([
    [
      "candidates: 3\nscore: { type: contrast, negative: rejected }\n",
      "p.yaml:3: candidates: decode: contrast makes one",
    ],
    [
      "score: { type: contrast, negative: rejected }\n",
      "candidates: decode: contrast makes one answer: write candidates: 1",
    ],
    ["candidates: 1\nscore: { type: none }\n", "p.yaml:4: score: decode: contrast needs a negative context"],
    ["candidates: 1\nscore: { type: likelihood }\n", "p.yaml:4: score: decode: contrast needs a negative context"],
    [
      "candidates: 1\nreference: default\nscore: { type: contrast, negative: reference }\n",
      "p.yaml:5: score.negative: decode: contrast is between two contexts of one model",
    ],
  ])("is refused where the rest does not go with it: %s", async (rest, message) => {
    await expect(built(`instructions: {}\n${decode}${rest}`)).rejects.toThrow(message);
  });

  it("goes without top_k where top is given", async () => {
    const file = `${scored}decode: { type: contrast, alpha: 1, top: 9 }\nsampling: { top_k: 0 }\n`;
    expect((await built(file))?.settings.decode?.top).toBe(9);
  });

  it("is refused by its line for engines that sample after one context at a time, with the reason", async () => {
    const server: Capabilities = { chat: true, text: true, score: true, grammar: true, tools: null };
    await expect(built(`${scored}${decode}`, server)).rejects.toThrow(
      "p.yaml:4: decode.type: this engine samples after one context at a time",
    );
    expect(await built(scored, server)).toBeDefined();
  });

  it("is declared by the embedded engine alone", () => {
    const servers = ["vllm", "llama-server", "llama-cpp-python", "openai"].map(
      (type) => `${type}: { type: ${type}, urls: [http://there], model: m }`,
    );
    const file = `engines: { llama: { type: llama }, ${servers.join(", ")} }\n`;
    const declared = [...parseEngines("engines.yaml", file, {})].map(([name, definition]) => [
      name,
      declaredCapabilities(definition).contrast ?? false,
    ]);
    expect(Object.fromEntries(declared)).toEqual({
      default: true,
      llama: true,
      vllm: false,
      "llama-server": false,
      "llama-cpp-python": false,
      openai: false,
    });
  });
});

const contrasting = policy({ score: sHat, candidates: 1, decode: { type: "contrast", alpha: 1 } });

describe("what a request changes beside it", () => {
  it.each([
    [{ candidates: 2 }, "icdpo.overrides.candidates"],
    [{ score: { type: "none" } }, "icdpo.overrides.score"],
  ])("is refused where it does not go with it: %o", async (overrides, param) => {
    await expect(overridden(contrasting, overridesSchema.parse(overrides))).rejects.toMatchObject({
      code: "invalid_request",
      param,
    });
  });

  it("may be what C⁻ shows, and how much", async () => {
    const { settings } = await overridden(
      contrasting,
      overridesSchema.parse({ shots: 1, score: { type: "contrast", negative: "base" } }),
    );
    expect(settings).toMatchObject({ shots: 1, decode: { alpha: 1 }, score: { negative: "base" } });
  });
});

describe("what it may take", () => {
  it("is both contexts, and the answer in each; two sequences", async () => {
    const { signal } = new AbortController();
    const plain = generationDemand(policy({ score: sHat, candidates: 1 }), request());
    const both = generationDemand(contrasting, request());
    const scoredTwo = generationDemand(policy({ score: sHat, candidates: 2 }), request());
    expect([plain.answers, both.answers]).toEqual([1, 2]);
    // Two candidates and their scores: an answer more in each context.
    expect(await both.tokens(signal)).toBe((await scoredTwo.tokens(signal)) - 2 * 20);
  });
});

describe("an evaluation's arm", () => {
  it("has it as it is, and none where it is plain or a pool", async () => {
    const arm = { name: "p", policy: contrasting };
    expect((await changedArm(arm, { temperature: 0 })).policy.settings.decode).toEqual({ type: "contrast", alpha: 1 });
    for (const changes of [
      { plain: true, candidates: 1 },
      { unscored: true, candidates: 1 },
    ])
      expect((await changedArm(arm, changes)).policy.settings.decode).toBeUndefined();
  });
});
