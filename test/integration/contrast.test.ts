/** Contrastive decoding on the real model, against the formula. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Prompt, Sample, SampleEvent, SampleRequest, Token } from "../../src/engine/engine.ts";
import { LlamaEngine } from "../../src/engine/llama-cpp/index.ts";
import { defaultModel } from "../../src/models/catalog.ts";
import { openModelStore } from "../../src/node/runtime.ts";
import { readSettings } from "../../src/node/settings.ts";
import { childModule } from "./gateway.ts";
import { quantisedNoise } from "./noise.ts";

let engine: LlamaEngine;
let positive: Prompt;
let negative: Prompt;
beforeAll(async () => {
  const { path, id } = await openModelStore(readSettings(process.env, process.cwd()), () => {}).ensure(defaultModel);
  const size = { contextSize: 256, sequences: 6, threads: 1, gpu: "auto", hangMs: 300_000 } as const;
  engine = await LlamaEngine.start({ childModule, model: id, modelPath: path, ...size, log: () => {} });
  const ask = (system: string) =>
    engine.chatPrompt([
      { role: "system", content: system },
      { role: "user", content: "Name a fruit." },
    ]);
  positive = await ask("Answer in one short sentence.");
  negative = await ask("Answer rudely and at length, in many sentences.");
});
afterAll(() => engine?.close());

const top = 8;
const request: SampleRequest = {
  temperature: 1,
  topP: 0.9,
  topK: top,
  maxTokens: 8,
  stop: [],
  seeds: [11],
  logprobs: false,
};

async function eventsOf(overrides: Partial<SampleRequest>, signal?: AbortSignal): Promise<SampleEvent[]> {
  const events: SampleEvent[] = [];
  for await (const event of engine.sample(positive, { ...request, ...overrides }, signal)) events.push(event);
  return events;
}

/** The first one, where there are several. */
async function sampled(overrides: Partial<SampleRequest>): Promise<Sample> {
  for (const event of await eventsOf(overrides)) if (event.type === "done" && event.index === 0) return event.sample;
  throw new Error("Nothing was sampled");
}

const by = (alpha: number) => ({ contrast: { prompt: negative, alpha, top } });

/** log π of each of the tokens after a prompt and what has been sampled before, by teacher forcing. */
async function forced(prompt: Prompt, before: readonly Token[], tokens: readonly Token[]): Promise<number[]> {
  const logprobs: number[] = [];
  const longer = { ...prompt, tokens: [...prompt.tokens, ...before] };
  for await (const event of engine.score(
    longer,
    tokens.map((token) => [token]),
  ))
    if (event.type === "scored") logprobs[event.index] = event.logprobs[0] as number;
  return logprobs;
}

/** Of one token's log-probability. */
const noise = quantisedNoise(1);

describe("contrastive decoding", () => {
  it.each([1, 0])("with α = 0 is C⁺'s own sampling of the same seed, at temperature %s", async (temperature) => {
    // As many rows in a step: weights of few bits give other logits otherwise.
    const plain = await sampled({ temperature, seeds: [11, 12] });
    const { logRatios, ...contrasted } = await sampled({ temperature, ...by(0) });
    expect(contrasted).toEqual(plain);
    expect(plain.tokens.length).toBeGreaterThan(0);
  });

  it("greedily takes the largest log π⁺ + α(log π⁺ − log π⁻) of C⁺'s likeliest", async () => {
    const alpha = 1.5;
    const {
      tokens,
      details = [],
      logRatios = [],
    } = await sampled({
      temperature: 0,
      maxTokens: 4,
      topLogprobs: top,
      ...by(alpha),
    });
    const greedy = await sampled({ temperature: 0, maxTokens: 4 });
    expect(tokens).not.toEqual(greedy.tokens);
    expect(logRatios.length).toBeGreaterThanOrEqual(tokens.length);
    for (const [place, token] of tokens.entries()) {
      const before = tokens.slice(0, place);
      const likeliest = await tokensOf(details[place]?.top.map(({ text }) => text) ?? []);
      const plus = await forced(positive, before, likeliest);
      const minus = await forced(negative, before, likeliest);
      const scores = plus.map((logprob, i) => logprob + alpha * (logprob - (minus[i] as number)));
      const chosen = likeliest.indexOf(token);
      expect(scores[chosen]).toBeGreaterThan(Math.max(...scores) - noise * (1 + 2 * alpha));
      const ratio = (plus[chosen] as number) - (minus[chosen] as number);
      expect(Math.abs((logRatios[place] as number) - ratio)).toBeLessThan(2 * noise);
    }
  });

  it("streams what the whole sample says", async () => {
    const events = await eventsOf(by(1));
    const pieces = events.flatMap((event) => (event.type === "text" ? [event.text] : []));
    const done = events.at(-1);
    expect(done?.type === "done" && done.sample.text).toBe(pieces.join(""));
    expect(pieces.length).toBeGreaterThan(1);
    expect(events.filter(({ type }) => type === "prompt")).toHaveLength(1);
    expect(await sampled(by(1))).toMatchObject({ text: pieces.join("") });
  });

  it("keeps to a grammar, also where it allows none of C⁺'s likeliest", async () => {
    const { text } = await sampled({ grammar: 'root ::= "{" [0-9] [0-9] "}"', ...by(1) });
    expect(text).toMatch(/^\{\d\d\}$/u);
  });

  it("stops at stop strings, and leaves nothing behind when it is left", async () => {
    const whole = await sampled({ maxTokens: 16, ...by(1) });
    const stop = whole.text.slice(3, 6);
    const { text, stopString } = await sampled({ maxTokens: 16, stop: [stop], ...by(1) });
    expect(stopString).toBe(stop);
    expect(whole.text.startsWith(text)).toBe(true);
    for await (const { type } of engine.sample(positive, { ...request, maxTokens: 100, ...by(1) }))
      if (type === "text") break;
    await expect.poll(() => engine.load()).toMatchObject({ active: 0, waiting: 0, freeSequences: 6 });
  });

  it("makes one sample a call", async () => {
    await expect(eventsOf({ seeds: [1, 2], ...by(1) })).rejects.toMatchObject({ code: "invalid_request", param: "n" });
  });
});

/** Ids of tokens by their texts, each of which is one token. */
async function tokensOf(texts: readonly string[]): Promise<Token[]> {
  return (await engine.tokenize(texts)).map((tokens) => tokens[0] as Token);
}
