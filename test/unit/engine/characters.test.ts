/** Texts that cannot fit into a context are refused by their characters, before anything reads them. */
import { describe, expect, it, vi } from "vitest";
import { charactersOf, usualLongestToken } from "../../../src/engine/characters.ts";
import { openOpenAi } from "../../../src/engine/openai/index.ts";
import { bm25Retriever } from "../../../src/retrieval/bm25.ts";
import { encode, ScriptedEngine } from "../scripted-engine.ts";
import { gateway, json } from "../scripted-gateway.ts";

const contextSize = 500;
const most = contextSize * usualLongestToken;
const fits = "x".repeat(most);
const long = `${fits}x`;
const user = (content: string) => [{ role: "user", content }];

/** What a request is answered, and what the engine was given to tokenise and to work on. */
async function ask(path: string, body: object) {
  const { engine, post } = await gateway({ contextSize }, { maxBodyBytes: 10_000_000 });
  const given = [vi.spyOn(engine, "tokenize"), vi.spyOn(engine, "textPrompt"), vi.spyOn(engine, "chatPrompt")];
  const { error } = await json(await post(path, { model: "icdpo", ...body }));
  // The beginning of all texts is asked for as one of none.
  const characters = given
    .flatMap(({ mock }) => mock.calls.map(([texts]) => JSON.stringify(texts).length))
    .filter((length) => length > 4);
  return { error, characters, calls: engine.calls.length };
}

describe("what has more characters than a context can hold", () => {
  const call = { id: "c", type: "function", function: { name: "f", arguments: JSON.stringify({ x: long }) } };
  const tool = { type: "function", function: { name: "f", description: long } };
  it.each([
    ["a message of a scored route", "/v1/chat/completions", { messages: user(long) }, "messages"],
    [
      "messages together",
      "/v1/chat/completions",
      { messages: [...user(fits), { role: "assistant", content: "y" }, ...user("z")] },
      "messages",
    ],
    [
      "a call's arguments",
      "/v1/chat/completions",
      { model: "plain", messages: [...user("x"), { role: "assistant", tool_calls: [call] }] },
      "messages",
    ],
    [
      "a tool's description",
      "/v1/chat/completions",
      { model: "plain", messages: user("x"), tools: [tool] },
      "messages",
    ],
    ["a response's input", "/v1/responses", { input: long }, "messages"],
    ["a text to go on", "/v1/completions", { model: "plain", prompt: long }, "prompt"],
    ["one of several", "/v1/completions", { model: "plain", prompt: ["x", long] }, "prompt"],
    [
      "token ids",
      "/v1/completions",
      { model: "plain", prompt: Array.from({ length: contextSize + 1 }, () => 65) },
      "prompt",
    ],
    ["the prompt of a score", "/v1/score", { messages: user(long), completions: ["x"] }, "messages"],
    ["a completion to score", "/v1/score", { messages: user("x"), completions: ["x", long] }, "completions.1"],
  ])("is not tokenised: %s", async (_, path, body, param) => {
    expect(await ask(path, body)).toEqual({
      error: expect.objectContaining({
        code: "context_length_exceeded",
        param,
        message: expect.stringContaining(`${contextSize} tokens`),
      }),
      characters: [],
      calls: 0,
    });
  });

  it("is left out where it is a demonstration, and not tokenised", async () => {
    const demonstrations = [
      { messages: user("Short?"), chosen: "Yes." },
      { messages: user("Long?"), chosen: long },
    ];
    const { error, characters } = await ask("/v1/score", { messages: user("x"), completions: ["y"], demonstrations });
    expect(error).toBeUndefined();
    expect(Math.max(...characters)).toBeLessThan(1_000);
  });
});

it("as many characters as a context might hold are tokenised", async () => {
  const { characters } = await ask("/v1/completions", { model: "plain", prompt: fits });
  expect(characters).toContain(most + 2);
});

it("characters are those of messages, calls and tools", () => {
  const conversation = [
    { role: "user", content: "abc" },
    { role: "assistant", content: "", toolCalls: [{ id: "1", name: "f", arguments: "{}" }] },
  ] as const;
  expect(charactersOf(conversation)).toBe(5);
  expect(charactersOf([], [{ name: "f", parameters: {} }])).toBe(
    JSON.stringify([{ name: "f", parameters: {} }]).length,
  );
});

it("a service of estimated tokens takes no more characters than it estimates", async () => {
  const engine = openOpenAi(
    { urls: ["http://x"], model: "m", contextSize: 100, timeoutMs: 1, retries: 0 },
    { fetch, now: () => 0, log: () => {} },
  );
  const { mostCharacters = 0 } = await engine.info();
  expect(
    (await engine.chatPrompt([{ role: "user", content: "x".repeat(mostCharacters + 1) }])).tokens.length,
  ).toBeGreaterThan(100);
});

it("BM25 reads the end of a long prompt, and finds the same", async () => {
  const engine = new ScriptedEngine();
  const tokenize = vi.spyOn(engine, "tokenize");
  const demonstrations = ["tea", "snow", "rain", "wind"].map((id) => ({
    id,
    messages: [{ role: "user", content: `about ${id}` } as const],
    chosen: "y",
  }));
  const retriever = await bm25Retriever(demonstrations, { engine, source: "test" }, 4);
  const retrieve = (content: string) => retriever.retrieve([{ role: "user", content }], { shots: 1, random: () => 0 });
  const short = await retrieve("some rain");
  tokenize.mockClear();
  expect(await retrieve(`${"x😊".repeat(1_000_000)}some rain`)).toEqual(short);
  expect(short[0]?.demonstration.id).toBe("rain");
  const [[[read = ""]] = [[]]] = tokenize.mock.calls;
  expect(read.length).toBeLessThanOrEqual((4 + 32) * usualLongestToken);
  expect(read.isWellFormed()).toBe(true);
  expect(encode(read)).toHaveLength(read.length);
});
