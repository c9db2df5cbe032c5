import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { fieldIn, withFields } from "../../../src/policy/policy-document.ts";

describe("a policy's text", () => {
  it("gets other values where they stand, and keeps its comments", () => {
    const text = "# head\nshots: 2 # of 144\nscore: { type: contrast, negative: rejected }\n# tail\nprompt: auto\n";
    expect(withFields(text, { shots: 4, "score.normalize": "token" })).toBe(
      "# head\nshots: 4 # of 144\nscore: { type: contrast, negative: rejected, normalize: token }\n# tail\nprompt: auto\n",
    );
    expect(withFields(text, { score: { type: "none" }, block: { tokens: 16 } })).toBe(
      "# head\nshots: 2 # of 144\nscore: { type: none }\n# tail\nprompt: auto\nblock: { tokens: 16 }\n",
    );
  });

  it("loses fields that are null, whether they are there or not", () => {
    expect(withFields("shots: 2\nprompt: auto\n", { shots: null, block: null, "score.type": null })).toBe(
      "prompt: auto\n",
    );
    expect(withFields("# nothing\n", { shots: null })).toBe("# nothing\n");
    expect(withFields("", { "sampling.temperature": 0 })).toBe("sampling:\n  temperature: 0\n");
  });

  it("keeps every line of the default policy but those that change", () => {
    const text = readFileSync("policies/everyday.yaml", "utf8");
    const lines = text.split("\n");
    const changed = withFields(text, { shots: 4 }).split("\n");
    expect(lines.filter((line) => line.includes("'^") && !changed.includes(line))).toEqual([]);
    expect(changed).toContain("shots: 4");
  });

  it("is refused where it is no YAML, or a path leads through a value", () => {
    expect(() => withFields("shots: [", { shots: 1 })).toThrow(/not YAML/u);
    expect(() => withFields("score: none\n", { "score.type": "none" })).toThrow(/score\.type cannot be set/u);
  });

  it("tells what stands at a path", () => {
    const text = "score: { type: none }\nshots: 2\n";
    expect(["score.type", "shots", "score", "shots.most", "block.tokens"].map((path) => fieldIn(text, path))).toEqual([
      "none",
      2,
      { type: "none" },
      undefined,
      undefined,
    ]);
    expect(fieldIn("", "shots")).toBeUndefined();
  });
});
