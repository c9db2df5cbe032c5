import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { program, shortPrompts } from "./gateway.ts";

function run(args: readonly string[], input = ""): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], {
    input,
    encoding: "utf8",
    env: { ...process.env, ...shortPrompts },
  });
  return { code: status, stdout, stderr };
}

describe("icdpo score", () => {
  it("reads JSONL, writes a line of sums and scores for each, and nothing else to stdout", () => {
    const line = {
      messages: [{ role: "user", content: "How do I brew tea?" }],
      completions: ["Warm the pot, then steep for four minutes.", "Who cares."],
    };
    const { code, stdout, stderr } = run(
      ["score", "-"],
      `${JSON.stringify(line)}\n\n${JSON.stringify({ ...line, prompt: "hh-rlhf" })}\n`,
    );
    expect(code, stderr).toBe(0);
    const rows = stdout
      .trim()
      .split("\n")
      .map((row) => JSON.parse(row));
    expect(rows.map((row) => row.line)).toEqual([1, 3]);
    for (const { data, chosen } of rows) {
      expect(data).toHaveLength(2);
      expect(data[0].s_hat).toBeCloseTo(data[0].positive - data[0].negative, 9);
      expect(data[0].s).toBeCloseTo(data[0].positive - data[0].base, 9);
      expect(chosen).toBe(data[0].s_hat > data[1].s_hat ? 0 : 1);
    }
    expect(rows[0].data[0].positive).not.toBe(rows[1].data[0].positive);
  });

  it("names the line that is wrong", () => {
    const { code, stderr } = run(
      ["score", "-"],
      '{"messages": [{"role": "user", "content": "Hi"}], "completions": []}\n',
    );
    expect(code).toBe(1);
    expect(stderr).toContain("line 1: completions");
  });
});

describe("icdpo models", () => {
  it("lists the models and where they are", () => {
    const { code, stdout } = run(["models", "list", "--json"]);
    expect(code).toBe(0);
    const models = JSON.parse(stdout) as { name: string; state: string; path: string }[];
    expect(models.map(({ state }) => state)).toEqual(["ready", "ready"]);
    for (const { name, path } of models) expect(run(["models", "path", name]).stdout.trim()).toBe(path);
  });

  it("tells what the default model is, and what its template can do", () => {
    const { code, stdout } = run(["models", "inspect", "--json", "--context", "2048"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ architecture: "llama", quantisation: "Q4_1", trainContext: 8192, eos: "<|im_end|>", fim: null },
      memory: { perToken: 23_040, contexts: [{ tokens: 2048, sequences: 1 }, { sequences: 4 }, { sequences: 16 }] },
      template: { system: "anywhere", tools: "none", alternates: false, thinking: "none" },
    });
    expect(run(["models", "inspect"]).stdout).toContain("trained with    8,192 tokens");
    expect(run(["models", "inspect", "--context", "many"])).toMatchObject({ code: 1 });
  });

  it("knows what it does not know", () => {
    expect(run(["models", "path", "nothing"])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('no model "nothing"'),
    });
  });
});

describe("icdpo", () => {
  it.each([
    [["--help"]],
    [["serve", "--help"]],
    [["score", "--help"]],
    [["models", "--help"]],
    [["eval", "leave-one-out", "--help"]],
  ])("explains itself: %j", (args) => {
    const { code, stdout } = run(args);
    expect(code).toBe(0);
    expect(stdout).toContain("Usage: icdpo");
  });
});
