import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { Arm } from "../../../lab/arms.ts";
import { describeNearest, heldApart, readAll } from "../../../lab/commands/asked-prompts.ts";
import type { Run } from "../../../lab/commands/run.ts";
import type { Policy } from "../../../src/policy/policy.ts";

const folder = mkdtempSync(path.join(tmpdir(), "icdpo-asked-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function written(name: string, contents: readonly string[]): string {
  const file = path.join(folder, name);
  const lines = contents.map((content, i) => ({
    id: `${name}-${i}`,
    messages: [{ role: "user", content }],
    kind: "open",
    reference: "x",
  }));
  writeFileSync(file, lines.map((line) => JSON.stringify(line)).join("\n"));
  return file;
}

const questions = Array.from({ length: 12 }, (_, i) => `question ${i}`);

describe("the prompts that are asked", () => {
  it("are drawn so that a larger limit begins with the same ones, each with a seed of its own", async () => {
    const prompts = [`own=${written("a.jsonl", questions)}`];
    const few = await readAll({ prompts, limit: 4, seed: 3 });
    const all = await readAll({ prompts, seed: 3 });
    expect(few).toEqual(all.slice(0, 4));
    expect(new Set(all.map(({ seed }) => seed)).size).toBe(12);
    expect(all.every(({ set }) => set === "own")).toBe(true);
    // The seed is the prompt's, wherever it stands.
    const turned = await readAll({ prompts: [written("b.jsonl", questions.toReversed())], seed: 3 });
    const seedOf = (from: typeof all) => new Map(from.map(({ messages, seed }) => [messages[0]?.content, seed]));
    expect(seedOf(turned)).toEqual(seedOf(all));
    expect(turned[0]?.set).toBe("b");
    expect(seedOf(await readAll({ prompts, seed: 4 }))).not.toEqual(seedOf(all));
  });

  it("come from sets of different names", async () => {
    const file = written("c.jsonl", questions);
    await expect(readAll({ prompts: [`x=${file}`, `x=${file}`], seed: 0 })).rejects.toThrow('Two sets are called "x"');
    expect(await readAll({ prompts: [`x=${file}`, `y=${file}`], limit: 1, seed: 0 })).toHaveLength(2);
  });

  it("are held apart from demonstrations: those that are not are named, or refused", async () => {
    const prompts = await readAll({ prompts: [`own=${written("d.jsonl", ["soup?", "tea?"])}`], seed: 0 });
    // The angle of "tea?" to the demonstration is 0, that of all else a right one.
    const embed = async (texts: readonly string[]) =>
      texts.map((text) => (text === "tea?" ? Float32Array.of(1, 0) : Float32Array.of(0, 1)));
    const said: string[] = [];
    const run = {
      models: { embedder: async () => ({ embed, embedKept: embed }) },
      report: (line: string) => void said.push(line),
      signal: new AbortController().signal,
    } as unknown as Run;
    const armOf = (demonstrations: Policy["demonstrations"]) => ({ policy: { demonstrations } }) as unknown as Arm;
    const tea = [{ id: "t", messages: [{ role: "user", content: "tea?" }], chosen: "yes" }] as const;

    const nearest = await heldApart(run, {}, prompts, armOf(tea));
    expect(said).toEqual([expect.stringMatching(/^1 of 2 prompts are not held apart .*d\.jsonl-1 and t: 1\.000$/u)]);
    expect(describeNearest(nearest)).toEqual([
      "held apart: the largest cosine of a prompt to a demonstration is 1.000; of 0.75 or more: 1",
    ]);
    await expect(heldApart(run, { strict: true }, prompts, armOf(tea))).rejects.toMatchObject({
      code: "invalid_request",
      message: expect.stringContaining("leave out --strict"),
    });
    expect(await heldApart(run, { strict: true }, prompts.slice(0, 0), armOf([]))).toEqual([]);
    expect(describeNearest([])).toEqual([]);
    const apart = prompts.filter(({ messages }) => messages[0]?.content !== "tea?");
    expect(await heldApart(run, { strict: true }, apart, armOf(tea))).toMatchObject([{ cosine: 0 }]);
  });
});
