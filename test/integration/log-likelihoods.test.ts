/** What lm-eval sums up of `/v1/completions`, held against the engine's own scores. */
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Prompt, Token } from "../../src/engine/engine.ts";
import { onlyEngine } from "../../src/engine/engines.ts";
import { LlamaEngine } from "../../src/engine/llama-cpp/index.ts";
import { defaultModel } from "../../src/models/catalog.ts";
import { openModelStore } from "../../src/node/runtime.ts";
import { readSettings } from "../../src/node/settings.ts";
import { buildPolicySet } from "../../src/policy/build.ts";
import { gateway, json } from "../unit/scripted-gateway.ts";
import { childModule } from "./gateway.ts";
import { noiseOf } from "./noise.ts";

let engine: LlamaEngine;
let post: Awaited<ReturnType<typeof gateway>>["post"];
beforeAll(async () => {
  const store = openModelStore(readSettings(process.env, process.cwd()), () => {});
  const { path: modelPath, id: model } = await store.ensure(defaultModel);
  const size = { contextSize: 512, sequences: 8, threads: 1, gpu: "auto", hangMs: 300_000 } as const;
  engine = await LlamaEngine.start({ childModule, model, modelPath, ...size, log: () => {} });
  const policies = new Map([["plain", "candidates: 1\nscore: { type: none }\n"]]);
  const files = { policies, routes: "routes: { plain: { policy: plain } }", demonstrations: new Map() };
  const embedder = () => Promise.reject(new Error("not needed"));
  const set = await buildPolicySet(files, { engines: onlyEngine(engine), embedder });
  ({ post } = await gateway({}, { policies: () => set }));
});
afterAll(() => engine.close());

/** As lm-eval's `parse_logprobs` does, of a context of so many tokens. */
async function measured(prompt: string | readonly Token[], context: number) {
  const asked = { max_tokens: 1, echo: true, logprobs: 1, temperature: 0, seed: 1234 };
  const response = await post("/v1/completions", { model: "plain", prompt, ...asked });
  expect(response.status, await response.clone().text()).toBe(200);
  const { choices } = await json(response);
  const { token_logprobs: logprobs, top_logprobs: top, tokens } = choices[0].logprobs;
  const values: number[] = logprobs.slice(context, -1);
  const best: number[] = top.slice(context, -1).map((one: Record<string, number>) => Math.max(...Object.values(one)));
  const isGreedy = values.every((value, i) => value === best[i]);
  return { sum: values.reduce((sum, value) => sum + value, 0), isGreedy, count: tokens.length };
}

async function scored(prompt: Prompt, continuation: readonly Token[]): Promise<number> {
  for await (const event of engine.score(prompt, [continuation]))
    if (event.type === "scored") return event.logprobs.reduce((sum, value) => sum + value, 0);
  throw new Error("Nothing was scored");
}

it.each([
  ["plain text", "The capital of France is", " Paris, of course."],
  [
    "a chat that spells its control tokens",
    "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n",
    "Hi!<|im_end|>",
  ],
  [
    "a text at whose end the model ends",
    "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n",
    "Hello! How can I help you today?",
  ],
  ["a character of several tokens", "Smile:", " 😊"],
])(
  "of %s are the engine's, by text and by ids",
  async (_, context, continuation) => {
    const prompt = await engine.textPrompt(context, undefined, true);
    const { tokens } = await engine.textPrompt(context + continuation, undefined, true);
    expect(tokens.slice(0, prompt.tokens.length)).toEqual(prompt.tokens);
    const rest = tokens.slice(prompt.tokens.length);
    const expected = await scored(prompt, rest);
    for (const form of [context + continuation, tokens]) {
      const { sum, count } = await measured(form, prompt.tokens.length);
      expect(count).toBe(tokens.length + 1);
      expect(Math.abs(sum - expected)).toBeLessThan(noiseOf(rest.length));
    }
  },
  120_000,
);

it("of ids that end in half a character are the engine's, too", async () => {
  const prompt = await engine.textPrompt("Smile:");
  const [face = []] = await engine.tokenize([" 😊🙃"]);
  const half = face.slice(0, -1);
  const { sum, count } = await measured([...prompt.tokens, ...half], prompt.tokens.length);
  expect(count).toBe(prompt.tokens.length + half.length + 1);
  expect(Math.abs(sum - (await scored(prompt, half)))).toBeLessThan(noiseOf(half.length));
}, 120_000);

it("know what the model itself would have said", async () => {
  const prompt = await engine.textPrompt("One, two, three, four,");
  const [greedy = []] = await engine.tokenize([" five, six"]);
  const [other = []] = await engine.tokenize([" a dog"]);
  const { length } = prompt.tokens;
  expect((await measured([...prompt.tokens, ...greedy], length)).isGreedy).toBe(true);
  expect((await measured([...prompt.tokens, ...other], length)).isGreedy).toBe(false);
}, 120_000);
