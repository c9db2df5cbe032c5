/** Block-wise ICDPO: the best of n blocks is kept, given, and gone on from. */
import { describe, expect, it } from "vitest";
import type { SampleRequest } from "../../../src/engine/engine.ts";
import { policySchema } from "../../../src/policy/schema.ts";
import type { Script } from "../scripted-engine.ts";
import { gateway, json, readStream } from "../scripted-gateway.ts";

const policy = (more = "") =>
  `candidates: 3\ninstructions: { positive: "Good.", negative: "Bad." }\nscore: { type: contrast, negative: rejected }\nblock: { tokens: 4 }\n${more}`;

/** What has been answered before a block. */
const said = (context: string): string => context.split("<assistant>").at(-1) ?? "";

/** Candidate i writes its own letter, `length` times in all; the context likes `liked` best. */
const letters = (length: number, liked: (at: number) => string): Script => ({
  sample: (index, context, request: SampleRequest) => {
    const left = length - said(context).length;
    const text = ("abc"[index] ?? "?").repeat(Math.min(left, request.maxTokens));
    return { text, finish: left < request.maxTokens ? "stop" : "length" };
  },
  sum: (context, response) => (context.includes("Good.") && response.startsWith(liked(said(context).length)) ? -1 : -5),
});

const open = (script: Script, more?: string) => gateway(script, {}, { blocks: policy(more) });

describe("block-wise ICDPO", () => {
  it("keeps the block that Ŝ prefers at each step, and goes on from it", async () => {
    const { chat, engine } = await open(letters(10, (at) => (at < 4 ? "b" : at < 8 ? "c" : "a")));
    const body = await json(await chat({ model: "blocks", icdpo: { explain: true } }));
    expect(body.choices[0]).toMatchObject({ message: { content: "bbbbccccaa" }, finish_reason: "stop" });
    // The scripted engine spreads −1 over a block and its end, and only the last block ends: 4/5 + 4/5 + 1; −5 under C⁻
    // for each.
    expect(body.icdpo.candidates).toMatchObject([{ content: "bbbbccccaa", negative: -15, chosen: true }]);
    expect(body.icdpo.candidates[0].positive).toBeCloseTo(-2.6, 10);
    expect(body.icdpo.candidates[0].score).toBeCloseTo(12.4, 10);
    expect(body.usage.completion_tokens).toBe(10);
    expect(engine.calls.filter(({ type }) => type === "sample").map(({ context }) => said(context))).toEqual([
      "",
      "bbbb",
      "bbbbcccc",
    ]);
  });

  it("streams each block as soon as it is chosen, and says so nowhere else", async () => {
    const { chat } = await open(letters(10, () => "b"));
    const { chunks, comments } = await readStream(await chat({ model: "blocks", stream: true }));
    const pieces = chunks.map(({ choices }) => choices[0]?.delta?.content).filter((text) => text);
    expect(pieces).toEqual(["bbbb", "bbbb", "bb"]);
    expect(comments).toEqual([]);
  });

  it("scores the end of an answer with it", async () => {
    // Ending is what C⁺ likes.
    const script: Script = {
      sample: (index) => (index === 1 ? { text: "Yes", finish: "stop" } : { text: "No, ", finish: "length" }),
      sum: (context, response) => (context.includes("Good.") && response === "Yes" ? -1 : -6),
    };
    const body = await json(await (await open(script)).chat({ model: "blocks" }));
    expect(body.choices[0]).toMatchObject({ message: { content: "Yes" }, finish_reason: "stop" });
  });

  it("never takes an answer that a marker cuts before it begins, unless all are", async () => {
    // The marker is what C⁺ likes.
    const script: Script = {
      sample: (index) => (index === 1 ? { text: " Yes", finish: "stop" } : { text: " ##No", finish: "length" }),
      sum: (context, response) => (context.includes("polite/") && response.includes("##") ? -1 : -6),
    };
    const body = await json(await (await open(script, "prompt: hh-rlhf\n")).chat({ model: "blocks" }));
    expect(body.choices[0]).toMatchObject({ message: { content: "Yes" }, finish_reason: "stop" });
    const allCut: Script = { ...script, sample: () => ({ text: " ##No", finish: "length" }) };
    const cut = await json(await (await open(allCut, "prompt: hh-rlhf\n")).chat({ model: "blocks" }));
    expect(cut.choices[0]).toMatchObject({ message: { content: "" }, finish_reason: "stop" });
  });

  it("never takes an answer that ends before it begins, unless all do", async () => {
    const script: Script = {
      sample: (index, context) =>
        said(context) === "" && index === 0 ? { text: "", finish: "stop" } : { text: "word", finish: "stop" },
      sum: (context, response) => (context.includes("Good.") && response === "" ? 0 : -6),
    };
    const body = await json(await (await open(script)).chat({ model: "blocks" }));
    expect(body.choices[0].message.content).toBe("word");
    const empty = await open({ ...script, sample: () => ({ text: "", finish: "stop" }) });
    expect((await json(await empty.chat({ model: "blocks" }))).choices[0].message.content).toBe("");
  });

  it("ends at the client's limit, and before its stop string wherever blocks part", async () => {
    const { chat } = await open(letters(100, (at) => (at < 4 ? "a" : "b")));
    const limited = await json(await chat({ model: "blocks", max_tokens: 6 }));
    expect(limited.choices[0]).toMatchObject({ message: { content: "aaaabb" }, finish_reason: "length" });
    const cut = await json(await chat({ model: "blocks", stop: "aab" }));
    expect(cut.choices[0]).toMatchObject({ message: { content: "aa" }, finish_reason: "stop" });
    const { chunks } = await readStream(await chat({ model: "blocks", stop: ["aab"], stream: true }));
    expect(chunks.map(({ choices }) => choices[0]?.delta?.content ?? "").join("")).toBe("aa");
  });

  it("takes a block that ends before one that reaches max_tokens, where the policy puts unfinished ones last", async () => {
    const script: Script = {
      sample: (index) => (index === 1 ? { text: "Yes", finish: "stop" } : { text: "No, ", finish: "length" }),
      sum: (context, response) => (context.includes("Good.") && response.startsWith("No") ? -1 : -6),
    };
    const content = async (unfinished: string, limit: number) => {
      const blocks = policy().replace("rejected }", `rejected, unfinished: ${unfinished} }`);
      const { chat } = await gateway(script, {}, { blocks });
      return (await json(await chat({ model: "blocks", max_tokens: limit }))).choices[0].message.content;
    };
    expect(await content("equal", 4)).toBe("No, ");
    expect(await content("last", 4)).toBe("Yes");
    // Only the second block reaches it.
    expect(await content("last", 8)).toBe("No, Yes");
  });

  it("samples other blocks at each step, and the same ones for the same seed", async () => {
    const { chat, engine } = await open(letters(8, () => "a"));
    await chat({ model: "blocks", seed: 5 });
    await chat({ model: "blocks", seed: 5 });
    const seeds = engine.calls.flatMap((call) => (call.type === "sample" ? [call.request.seeds.join()] : []));
    expect(new Set(seeds).size).toBe(seeds.length / 2);
    expect(seeds.slice(0, seeds.length / 2)).toEqual(seeds.slice(seeds.length / 2));
  });

  it("ends with the blocks it has when its budget is spent", async () => {
    let rounds = 0;
    const endless: Script = {
      ...letters(100, () => "a"),
      // The third round of samples does not end before the budget does.
      pause: (what, signal, index) => {
        if (what !== "sample" || index > 0 || ++rounds < 3) return Promise.resolve();
        return new Promise((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }));
      },
    };
    const { chat } = await open(endless, "budget_ms: 1000\n");
    const body = await json(await chat({ model: "blocks", icdpo: { explain: true } }));
    expect(body.icdpo.fallback).toBe("budget");
    expect(body.choices[0].finish_reason).toBe("length");
    expect(body.choices[0].message.content).toBe("aaaaaaaa");
  });

  it("answers whole where several answers, a grammar, log-probabilities or penalties are asked for", async () => {
    const { chat, engine } = await open(letters(10, () => "a"));
    const penalties = [{ presence_penalty: 0.5 }, { frequency_penalty: -0.5 }];
    const others = [{ n: 2 }, { response_format: { type: "json_object" } }, { logprobs: true }];
    for (const more of [...others, ...penalties]) {
      const before = engine.calls.length;
      await chat({ model: "blocks", ...more });
      const [sample] = engine.calls.slice(before);
      expect(sample?.type === "sample" && sample.request.maxTokens).toBe(1_024);
    }
  });

  it("grow by the policy's list, whose last number repeats, and explain says so", async () => {
    const { chat, engine } = await gateway(
      letters(11, () => "b"),
      {},
      { blocks: policy().replace("tokens: 4", "tokens: [1, 2, 4]") },
    );
    const { chunks } = await readStream(await chat({ model: "blocks", stream: true, icdpo: { explain: true } }));
    const pieces = chunks.map(({ choices }) => choices[0]?.delta?.content).filter((text) => text);
    expect(pieces).toEqual(["b", "bb", "bbbb", "bbbb"]);
    const limits = engine.calls.flatMap((call) => (call.type === "sample" ? [call.request.maxTokens] : []));
    expect(limits).toEqual([1, 2, 4, 4, 4]);
    const { icdpo } = await json(await chat({ model: "blocks", max_tokens: 5, icdpo: { explain: true } }));
    expect(icdpo.blocks).toEqual([1, 2, 2]);
    expect(icdpo.candidates).toHaveLength(1);
  });

  it("needs a score", () => {
    expect(policySchema.safeParse({ score: { type: "none" }, block: {} }).error?.issues[0]?.message).toContain(
      "blocks are chosen by a score",
    );
    expect(policySchema.parse({ score: { type: "likelihood" }, block: {} }).block).toEqual({ tokens: 16 });
  });

  it("are chosen by no score that a request has put away", async () => {
    const routes = "routes: { blocks: { policy: blocks, allow_overrides: true } }\n";
    const { chat, engine } = await gateway(
      letters(10, () => "b"),
      {},
      { blocks: policy() },
      routes,
    );
    await chat({ model: "blocks", icdpo: { overrides: { candidates: 2, score: { type: "none" } } } });
    expect(engine.calls.map(({ type }) => type)).toEqual(["sample"]);
  });
});

describe("several beginnings at a time", () => {
  /** The best first block leads nowhere; what comes after the second one is liked best. */
  const liked: Readonly<Record<string, number>> = { a: -1, b: -2, c: -4, bx: -0.5, by: -0.6, bxz: -0.5, byz: -10 };
  const tree: Script = {
    sample: (index, context, { maxTokens }) => {
      const letters = ["abc", "xy", "zz"][said(context).length / 4] ?? "";
      return { text: (letters[index] ?? "?").repeat(maxTokens), finish: "length" };
    },
    sum: (context, response) => {
      const path = `${said(context)}${response}`.replace(/(.)\1+/gu, "$1");
      return context.includes("Good.") ? (liked[path] ?? -4) : -5;
    },
  };
  const trees = (more: string) => gateway(tree, {}, { blocks: policy().replace("tokens: 4", `tokens: 4${more}`) });

  it("are kept and go on, so that a better answer is found than by the best block each time", async () => {
    const answer = async (more: string) => {
      const { chat, engine } = await trees(more);
      const body = await json(await chat({ model: "blocks", max_tokens: 8, icdpo: { explain: true } }));
      expect(body.icdpo.blocks).toEqual([4, 4]);
      const calls = engine.calls.flatMap((call) => (call.type === "sample" ? [call] : []));
      const seeds = calls.flatMap(({ request }) => request.seeds);
      expect(new Set(seeds).size).toBe(seeds.length);
      const places = calls.map(({ context, request }) => `${said(context)} ${request.seeds.length}`);
      return [body.choices[0].message.content, ...places];
    };
    expect(await answer("")).toEqual(["aaaaxxxx", " 3", "aaaa 3"]);
    expect(await answer(", keep: 2")).toEqual(["bbbbxxxx", " 3", "aaaa 2", "bbbb 2"]);
    expect(await answer(", keep: 2, branch: 3")).toEqual(["bbbbxxxx", " 3", "aaaa 3", "bbbb 3"]);
  });

  it("are given as far as they agree, and the rest when the answer is known", async () => {
    const { chat } = await trees(", keep: 2");
    const { chunks } = await readStream(await chat({ model: "blocks", max_tokens: 12, stream: true }));
    const pieces = chunks.map(({ choices }) => choices[0]?.delta?.content).filter((text) => text);
    expect(pieces[0]).toBe("bbbb");
    expect(pieces.join("")).toBe("bbbbxxxxzzzz");
  });

  it("end at a stop string each for itself", async () => {
    const { chat } = await trees(", keep: 2");
    const body = await json(await chat({ model: "blocks", max_tokens: 12, stop: ["bx"] }));
    // The other one goes on to the end, and is liked less.
    expect(body.choices[0]).toMatchObject({ message: { content: "bbb" }, finish_reason: "stop" });
  });

  it("are given whole characters", async () => {
    const halves: Script = {
      ...tree,
      sample: (index) => ({ text: index === 0 ? "\u{1F600}no" : "\u{1F601}no", finish: "length" }),
    };
    const { chat } = await gateway(halves, {}, { blocks: policy().replace("tokens: 4", "tokens: 4, keep: 2") });
    const { chunks } = await readStream(await chat({ model: "blocks", max_tokens: 8, stream: true }));
    for (const { choices } of chunks) expect((choices[0]?.delta?.content ?? "").isWellFormed()).toBe(true);
  });

  it("must be fewer than there are to choose from", () => {
    const parsed = policySchema.safeParse({ score: { type: "likelihood" }, candidates: 2, block: { keep: 2 } });
    expect(parsed.error?.issues[0]).toMatchObject({ path: ["block", "keep"] });
    expect(parsed.error?.issues[0]?.message).toContain("of 2 first blocks fewer must be kept");
    expect(policySchema.parse({ score: { type: "likelihood" }, block: {} }).block).not.toHaveProperty("keep");
  });
});

describe("what a stream shows", () => {
  const whole = policy().replace("block: { tokens: 4 }\n", "");
  const limitsOf = async (settings: string, body: object) => {
    const { chat, engine } = await gateway(
      letters(130, () => "b"),
      {},
      { blocks: settings },
    );
    const response = await chat({ model: "blocks", ...body });
    expect(response.status).toBe(200);
    await response.text();
    return engine.calls.flatMap((call) => (call.type === "sample" ? [call.request.maxTokens] : []));
  };

  it.each([
    ["without either field growing blocks, where it is streamed", "", [8, 16, 32, 64, 64], [1_024]],
    ["with block alone blocks, streamed or not", "block: { tokens: 100 }\n", [100, 100], [100, 100]],
    ["with stream: blocks the same", "stream: blocks\n", [8, 16, 32, 64, 64], [1_024]],
    ["with both those that block says", "stream: blocks\nblock: { tokens: [70, 90] }\n", [70, 90], [1_024]],
    ["with stream: whole the choice among whole answers", "stream: whole\n", [1_024], [1_024]],
  ])("is %s", async (_, more, streamed, unstreamed) => {
    expect(await limitsOf(whole + more, { stream: true })).toEqual(streamed);
    expect(await limitsOf(whole + more, {})).toEqual(unstreamed);
  });

  it("is the whole choice where blocks cannot be, whatever the policy says", async () => {
    expect(await limitsOf(`${whole}stream: blocks\n`, { stream: true, n: 2 })).toEqual([1_024]);
  });

  it("is the whole choice where the policy's other fields do not go with blocks, and the policy names none", async () => {
    const waves = whole.replace("candidates: 3", "candidates: { min: 2, max: 4, margin: 1000 }");
    expect(await limitsOf(waves, { stream: true })).toEqual([1_024, 1_024]);
  });

  it.each([
    ["stream: blocks without a score", { score: { type: "none" }, stream: "blocks" }, "blocks are chosen by a score"],
    ["blocks for nobody", { stream: "whole", block: {} }, "no request would be answered in blocks"],
    ["no blocks", { block: { tokens: [] } }, "expected array to have >=1 item"],
    ["an empty block", { block: { tokens: [8, 0] } }, "expected number to be >=1"],
    ["what is neither a number nor a list", { block: { tokens: "few" } }, "a list of such numbers"],
    ["another word", { stream: "words" }, "expected one of"],
  ])("refuses %s", (_, settings, message) => {
    const parsed = policySchema.safeParse({ score: { type: "likelihood" }, ...settings });
    expect(parsed.error?.issues.map((issue) => issue.message).join()).toContain(message);
  });
});
