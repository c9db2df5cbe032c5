import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readGrids } from "../../../lab/tuning-grid.ts";
import { plainVariant, variantOf } from "../../../lab/variants.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { startPolicy, variantsOf } from "./scripted-tuning.ts";

const parsed = (grid: string) => variantsOf(new ScriptedEngine(), grid).parse();

describe("a grid", () => {
  it("has each value of a field with each of every other one, grid by grid", () => {
    const text = "- shots: [1, 2]\n  score.normalize: [sum, token]\n- block: [null, { tokens: 8 }]\n";
    expect(readGrids("g.yaml", text).map(({ changes }) => changes)).toEqual([
      { shots: 1, "score.normalize": "sum" },
      { shots: 1, "score.normalize": "token" },
      { shots: 2, "score.normalize": "sum" },
      { shots: 2, "score.normalize": "token" },
      { block: null },
      { block: { tokens: 8 } },
    ]);
  });

  it.each([
    ["shots: [1]\n", /g\.yaml:1: must be a list of grids/u],
    ["- shots: 1\n", /g\.yaml:1: 0\.shots: must be a list of values/u],
    ["- shots: [1]\n  Shots!: [2]\n", /g\.yaml:2: .*must be the path of a policy's field/u],
    ["- {}\n", /g\.yaml:1: 0: names no field/u],
    [
      `- shots: [${Array.from({ length: 40 }, (_, i) => i)}]\n  candidates: [${Array.from({ length: 40 }, (_, i) => i)}]\n`,
      /1600 combinations of values are more than 1000/u,
    ],
  ])("that is wrong is refused by its line: %j", (text, complaint) => {
    expect(() => readGrids("g.yaml", text)).toThrow(complaint);
  });

  it("may name any field by its path; what no policy can have is left out, with the reason", async () => {
    const { all, leftOut } = await parsed(
      "- score.negative: [base]\n  sampling.top_p: [0.5]\n- score: [{ type: none }, { type: likelihood }]\n  score.normalize: [null, token]\n",
    );
    expect(all.map(({ label }) => label)).toEqual([
      "as it is",
      "plain",
      "score.negative base; sampling.top_p 0.5",
      "score none",
      "score likelihood",
      "score likelihood; score.normalize token",
    ]);
    expect(all[2]?.settings).toMatchObject({ score: { negative: "base" }, sampling: { top_p: 0.5 } });
    expect(leftOut).toHaveLength(1);
    expect(leftOut[0]?.reason).toMatch(/normalize/u);
  });

  it.each([
    ["- shots: [1, 99]\n", /grid\.yaml:1: 0\.shots\.1: no policy can be so.*shots: Too big/u],
    ["- shots: [1]\n- shotz: [2]\n", /grid\.yaml:2: 1\.shotz\.0: no policy can be so.*shotz/u],
    ["- prompt:\n    - chat\n    - synthetic\n", /grid\.yaml:3: 0\.prompt\.1: no policy can be so/u],
  ])("whose value goes with nothing is a mistake, told by its line: %j", async (grid, complaint) => {
    await expect(parsed(grid)).rejects.toThrow(complaint);
  });

  it("that comes with the program has no value that no policy can have, but for what an engine has not", async () => {
    const ours = readFileSync("lab/tuning-grid.yaml", "utf8");
    const { all, leftOut } = await parsed(ours);
    expect(leftOut).toEqual([]);
    expect(all.length).toBeGreaterThan(40);
    expect(new Set(all.map(({ label }) => label)).size).toBe(all.length);
    expect(all.find(({ label }) => label === "decode contrast 0.5")?.settings).toMatchObject({
      candidates: 1,
      score: { type: "contrast", negative: "rejected" },
      decode: { alpha: 0.5 },
    });
    const server = new ScriptedEngine({
      capabilities: { chat: true, text: false, score: true, grammar: true, tools: null },
    });
    const there = await variantsOf(server, ours, startPolicy, true).parse();
    expect(there.leftOut.map(({ reason }) => reason.split(":")[0])).toEqual(["decode.type", "decode.type", "prompt"]);
    await expect(variantsOf(server, ours).parse()).rejects.toThrow(/no policy can be so/u);
  });
});

describe("a variant", () => {
  it("of no demonstrations keeps the instructions, and loses the retriever", () => {
    const { label, text } = variantOf(startPolicy, { shots: 0 });
    expect(label).toBe("shots 0");
    expect(text).toBe("candidates: 2\nscore: { type: contrast, negative: rejected }\ninstructions: {}\n");
    const own = variantOf(`${startPolicy}instructions: { positive: Be kind. }\n`, { shots: 0 });
    expect(own.text).toContain("instructions: { positive: Be kind. }");
  });

  it("of one answer has nothing that would choose", () => {
    const blocks = `${startPolicy}block: { tokens: 8 }\n`;
    const single = variantOf(blocks, { candidates: 1, score: { type: "likelihood" } });
    expect(single).toEqual({
      label: "candidates 1",
      text: "demonstrations: d\nretriever: { type: random }\nshots: 2\ncandidates: 1\nscore: { type: none }\n",
    });
    const greedy = variantOf(blocks, { candidates: 3, "sampling.temperature": 0 });
    expect(greedy.label).toBe("sampling.temperature 0");
    expect(greedy.text).not.toContain("block");
    const drawn = variantOf(`${startPolicy}stream: blocks\n`, { decode: { type: "contrast", alpha: 0.5 } });
    expect(drawn.text).not.toContain("stream");
  });

  it("that is plain shows the model nothing but the conversation, sampled as the policy samples", () => {
    const { text } = plainVariant(`${startPolicy}sampling: { temperature: 0.5 }\n`);
    expect(text).toBe("candidates: 1\nscore: { type: none }\nsampling: { temperature: 0.5 }\n");
  });

  it("is told by what it changes", () => {
    expect(variantOf(startPolicy, { shots: 2, candidates: 2 }).label).toBe("as it is");
    expect(variantOf(startPolicy, { shots: 4, block: { tokens: 8 }, instructions: null }).label).toBe(
      "shots 4; block 8",
    );
  });
});
