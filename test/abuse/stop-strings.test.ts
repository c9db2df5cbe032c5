/** Stop strings that begin as the text goes on: each token is held against all of them. */
import { expect, it } from "vitest";
import { CompletionText } from "../../src/engine/llama-cpp/completion-text.ts";
import { attack } from "./attacker.ts";
import { plainAttack } from "./attacks.ts";
import { expectUnblocked } from "./measures.ts";
import { secret, servedSite } from "./site.ts";

const tokens = 16_384;

function write(text: string, stop: readonly string[]): string {
  const stream = new CompletionText((pieces) => text.repeat(pieces.length), stop);
  let written = "";
  for (let token = 0; token < tokens; token++) written += stream.push(token);
  return written + stream.end();
}

it.each([
  ["one character again and again", "a", (end: string) => "a".repeat(127) + end],
  ["words that come again", "ab ab ", (end: string) => "ab ".repeat(42) + end],
  ["tokens of many characters", "a".repeat(64), (end: string) => "a".repeat(127) + end],
])("the longest there can be hardly hold a text up: %s", async (_, text, stop) => {
  const { result } = await expectUnblocked(
    () => write(text, []),
    () =>
      write(
        text,
        Array.from("0123456789uvwxyz", (end) => stop(end)),
      ),
    { factor: 20, ms: 1_000 },
  );
  expect(result).toBe(text.repeat(tokens));
});

it("longer ones, and more of them, are refused before anything is begun", async () => {
  const site = await servedSite();
  for (const stop of ["a".repeat(129), "a".repeat(23_000), Array(17).fill("a")]) {
    const bytes = JSON.stringify({ model: "plain", messages: [{ role: "user", content: "Hi" }], stop });
    for (const path of ["/v1/chat/completions", "/v1/completions"]) {
      const body = path === "/v1/completions" ? JSON.stringify({ model: "plain", prompt: "Hi", stop }) : bytes;
      const { status, text } = await attack(
        site.url,
        { ...plainAttack, path, sent: { type: "whole", bytes: body } },
        secret,
      );
      expect(status).toBe(400);
      expect(JSON.parse(text).error.param).toMatch(/^stop/u);
    }
  }
  expect([site.engine.calls.length, site.charged()]).toEqual([0, 0]);
  await site.close();
});
