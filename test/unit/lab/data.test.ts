import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { describeData, readData } from "../../../lab/commands/data.ts";
import type { DataOptions } from "../../../lab/commands/options.ts";
import { ScriptedEngine } from "../scripted-engine.ts";

const folder = mkdtempSync(path.join(tmpdir(), "icdpo-data-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const { signal } = new AbortController();
const engine = new ScriptedEngine();

/** HH-RLHF's form; every fourth prompt stands twice, with other responses. */
const lines = Array.from({ length: 80 }, (_, i) => {
  const prompt = `\n\nHuman: question ${i % 4 === 3 ? i - 1 : i}`;
  return JSON.stringify({ chosen: `${prompt}\n\nAssistant: good ${i}`, rejected: `${prompt}\n\nAssistant: bad ${i}` });
});
const file = path.join(folder, "hh.jsonl.gz");
writeFileSync(file, gzipSync(lines.join("\n")));

const options: DataOptions = {
  data: [`harmless=${file}`],
  limit: 10,
  skip: 0,
  seed: 1,
  maxPrompt: 0,
  maxResponse: 0,
  holdOut: 30,
};

describe("readData", () => {
  it("demonstrates no prompt that may be tested, whatever the limit", async () => {
    const { sets, demonstrations } = await readData({ ...options, demonstrationsFrom: file }, engine, signal);
    const all = await readData({ ...options, limit: 80, demonstrationsFrom: file }, engine, signal);
    expect(sets[0]?.examples).toHaveLength(10);
    expect(all.sets[0]?.examples).toHaveLength(30);
    expect(all.demonstrations).toEqual(demonstrations);
    const tested = new Set(all.sets[0]?.examples.map(({ messages }) => messages[0]?.content));
    expect(demonstrations?.length).toBeGreaterThan(30);
    expect(demonstrations?.filter(({ messages }) => tested.has(messages[0]?.content))).toEqual([]);
    // Prompts that stand twice, once among those that may be tested, are in neither half of the rest.
    expect((demonstrations?.length ?? 0) + 30).toBeLessThan(80);
  });

  it("tests all of a file where another is demonstrated, less what both have", async () => {
    const other = path.join(folder, "other.jsonl");
    const own = (content: string) =>
      JSON.stringify({
        messages: [
          { role: "user", content },
          { role: "assistant", content: "x" },
        ],
      });
    writeFileSync(other, [own("question 0"), own("new")].join("\n"));
    const all = { ...options, limit: 80, demonstrationsFrom: other };
    const data = await readData(all, engine, signal);
    expect(data.sets[0]?.examples).toHaveLength(80);
    expect(data.demonstrations?.map(({ messages }) => messages[0]?.content)).toEqual(["new"]);
    expect(data.capped).toEqual([]);
    expect(describeData(all, data)).not.toContain("--hold-out");
    const both = { ...options, limit: 80, demonstrationsFrom: path.relative(process.cwd(), file) };
    const capped = await readData(both, engine, signal);
    expect(capped.sets[0]?.examples).toHaveLength(30);
    expect(describeData(both, capped)).toContain("of harmless at most 30 prompts tested (--hold-out)");
  });

  it("draws by the seed, a larger sample beginning with a smaller one", async () => {
    const idsOf = async (changed: Partial<DataOptions>) =>
      (await readData({ ...options, ...changed }, engine, signal)).sets[0]?.examples.map(({ id }) => id);
    const ten = await idsOf({});
    expect(new Set(ten).size).toBe(10);
    expect((await idsOf({ limit: 20 }))?.slice(0, 10)).toEqual(ten);
    expect(await idsOf({ seed: 2 })).not.toEqual(ten);
    expect(await idsOf({ limit: 80 })).toHaveLength(80);
    for (const id of (await idsOf({ limit: 80, skip: 60 })) ?? []) expect(Number(id.split("-")[1])).toBeGreaterThan(60);
  });

  it("gives each example a name of its line and a seed of its own, the same in every sample", async () => {
    const [small, large] = [
      await readData(options, engine, signal),
      await readData({ ...options, limit: 80 }, engine, signal),
    ];
    const seeds = new Map(large.sets[0]?.examples.map(({ id, seed }) => [id, seed]));
    expect(new Set(seeds.values()).size).toBe(80);
    for (const { id, seed, chosen } of small.sets[0]?.examples ?? []) {
      expect(seeds.get(id)).toBe(seed);
      expect(chosen).toBe(`good ${Number(id.split("-")[1]) - 1}`);
    }
  });

  it("leaves out what is too long, and says when nothing is left", async () => {
    // A character is a token: "question 5" has ten, "good 5" six.
    const short = await readData({ ...options, limit: 80, maxPrompt: 10, maxResponse: 6 }, engine, signal);
    expect(short.sets[0]?.examples.map(({ id }) => id).toSorted()).toEqual(
      Array.from({ length: 10 }, (_, i) => `harmless-${i + 1}`).toSorted(),
    );
    await expect(readData({ ...options, maxPrompt: 3 }, engine, signal)).rejects.toThrow("short enough");
    await expect(readData({ ...options, data: [`one=${file}`, `one=${file}`] }, engine, signal)).rejects.toThrow(
      'Two sets are called "one"',
    );
    await expect(readData({ ...options, holdOut: 80, demonstrationsFrom: file }, engine, signal)).rejects.toThrow(
      "nothing is left to demonstrate",
    );
  });
});
