/** The set that comes with the project. */
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { parseDemonstrations } from "../../../src/policy/parse.ts";

const file = new URL("../../../demos/everyday.jsonl", import.meta.url);
const demonstrations = await parseDemonstrations("demos/everyday.jsonl", await readFile(file, "utf8"));

describe("demos/everyday.jsonl", () => {
  it("has both kinds of worse responses to at least 100 prompts, none of them the good one", () => {
    expect(demonstrations.length).toBeGreaterThanOrEqual(100);
    for (const { id, chosen, rejected = "", near = [] } of demonstrations) {
      expect(rejected, id).not.toBe("");
      expect(near.length, id).toBeGreaterThan(0);
      expect([rejected, ...near], id).not.toContain(chosen);
      expect(new Set(near).size, id).toBe(near.length);
    }
  });

  it("repeats no address or number of anybody's that a model has made up", () => {
    const personal = /https?:|www\.|\S@\S+\.\w|\d{6}/u;
    const found = demonstrations.flatMap(({ id, near = [] }) =>
      near.filter((text) => personal.test(text)).map(() => id),
    );
    expect(found).toEqual([]);
  });
});
