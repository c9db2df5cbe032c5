import { expect, it } from "vitest";
import { GrammarTurns } from "../../../../src/engine/llama-cpp/grammar-turns.ts";

it("draws one after another, and gives what was drawn", async () => {
  const turns = new GrammarTurns(() => 0);
  const seen: string[] = [];
  const draw = (name: string) => async () => {
    seen.push(`${name} begins`);
    await new Promise((resolve) => setImmediate(resolve));
    seen.push(`${name} ends`);
    return name;
  };
  expect(await Promise.all(["a", "b"].map((name) => turns.take(draw(name))))).toEqual(["a", "b"]);
  expect(seen).toEqual(["a begins", "a ends", "b begins", "b ends"]);
});

it("ends a text whose next token took more than two seconds of the processor, and no other", async () => {
  let used = 0;
  const turns = new GrammarTurns(() => used);
  const taking = (microseconds: number) => async () => {
    used += microseconds;
    return microseconds;
  };
  const all = await Promise.allSettled([2_000_000, 2_000_001, 1].map((time) => turns.take(taking(time))));
  expect(all.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(all[1]).toMatchObject({
    reason: { code: "invalid_request", message: expect.stringContaining("too many ways at once") },
  });
});

it("goes on after a draw that failed", async () => {
  const turns = new GrammarTurns(() => 0);
  await expect(turns.take(() => Promise.reject(new Error("lost")))).rejects.toThrow("lost");
  expect(await turns.take(async () => 1)).toBe(1);
});
