import { describe, expect, it } from "vitest";
import { gateway, json, readStream } from "../../scripted-gateway.ts";

const paper = {
  hh: "demonstrations: set\nretriever: { type: bm25 }\nscore: { type: contrast, negative: rejected }\nprompt: hh-rlhf\n",
  post: "demonstrations: set\nretriever: { type: bm25 }\nscore: { type: contrast, negative: base }\nprompt: synthetic-gpt\n",
  shown: "demonstrations: set\nretriever: { type: bm25 }\ncandidates: 1\nscore: { type: none }\nprompt: hh-rlhf\n",
};
const opened = (overrides = {}) => gateway(overrides, {}, paper);
const prompt = "\n\nHuman: How do I brew coffee?\n\nAssistant:";
const ask = { model: "hh", prompt };

describe("POST /v1/completions on routes whose prompts are text", () => {
  it("answers with the candidate that the method chooses", async () => {
    const { post, engine } = await opened();
    const response = await post("/v1/completions", ask);
    expect(response.headers.get("x-icdpo-candidates")).toBe("3");
    expect(response.headers.get("x-icdpo-score")).not.toBeNull();
    expect(await json(response)).toEqual({
      id: expect.stringMatching(/^cmpl-/u),
      object: "text_completion",
      created: 1_700_000_000,
      model: "hh",
      system_fingerprint: expect.stringMatching(/^fp_/u),
      choices: [{ text: "Candidate number 1.", index: 0, logprobs: null, finish_reason: "stop" }],
      usage: { prompt_tokens: prompt.length, completion_tokens: 20, total_tokens: prompt.length + 20 },
    });
    const [sampled] = engine.calls;
    expect(sampled?.context).toMatch(/^#You are asked.*\n\n##\n\nHuman: How do I brew coffee\?\n###Generate[^#]*$/su);
  });

  it("says the same as the chat that the prompt is a transcript of", async () => {
    const { post, chat, engine } = await opened();
    await post("/v1/completions", {
      ...ask,
      prompt: `Be brief.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Tea?\n\nAssistant:`,
    });
    const messages = [
      { role: "system", content: "Be brief." },
      { role: "user", content: "Hi" },
      { role: "assistant", content: "Hello" },
      { role: "user", content: "Tea?" },
    ];
    const asked = engine.calls.splice(0);
    await chat({ model: "hh", messages, max_tokens: 16 });
    expect(engine.calls).toEqual(asked);
  });

  it("takes any other text for one message, in which nothing is a turn", async () => {
    const { post, engine } = await opened();
    await post("/v1/completions", { ...ask, prompt: "Tell me of tea\nHuman: now" });
    expect(engine.calls[0]?.context).toContain("\n\nHuman: Tell me of tea\n Human: now\n###Generate");
  });

  it("shows demonstrations without choosing, and takes synthetic-gpt's posts", async () => {
    const { post, engine } = await opened();
    const one = await json(await post("/v1/completions", { ...ask, model: "shown" }));
    expect(one.choices[0].text).toBe("Candidate number 0.");
    await post("/v1/completions", { ...ask, model: "post", prompt: "Human: Tea?\n\nAssistant:" });
    expect(engine.calls[1]?.context).toContain("\n\n##\n\nHuman: Tea?\n###Generate");
  });

  it("streams the winner, with log-probabilities, what explains it, and usage", async () => {
    const { post } = await opened();
    const options = {
      logprobs: 1,
      n: 2,
      icdpo: { explain: true },
      stream: true,
      stream_options: { include_usage: true },
    };
    const { chunks } = await readStream(await post("/v1/completions", { ...ask, ...options }));
    const pieces = chunks.flatMap(({ choices }) => choices);
    const first = pieces.filter(({ index }) => index === 0);
    expect(first.map(({ text }) => text).join("")).toBe("Candidate number 1.");
    expect(first.flatMap(({ logprobs }) => logprobs.tokens).join("")).toBe("Candidate number 1.");
    expect(first.at(-1).finish_reason).toBe("stop");
    expect(chunks.find(({ icdpo }) => icdpo)?.icdpo.candidates).toHaveLength(3);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 40 } });
    const whole = await json(await post("/v1/completions", { ...ask, ...options, stream: false }));
    expect(whole.icdpo.candidates).toHaveLength(3);
    expect(whole.choices[1].logprobs.text_offset).toHaveLength(19);
  });

  it.each([
    ["echo", { echo: true }],
    ["echo", { echo: true, logprobs: 1, max_tokens: 0 }],
    ["suffix", { suffix: "." }],
    ["parse_special", { parse_special: true }],
    ["add_special_tokens", { add_special_tokens: false }],
    ["max_tokens", { max_tokens: 0 }],
    ["prompt", { prompt: ["a", "b"] }],
    ["prompt", { prompt: [1, 2] }],
    ["prompt", { prompt: "\n\nHuman: Hi\n\nAssistant: Well, I" }],
    ["prompt", { model: "post", prompt: "Human: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:" }],
    ["prompt", { prompt: "x".repeat(99_000) }],
    ["icdpo.overrides", { icdpo: { overrides: { shots: 1 } } }],
  ])("refuses %s by name, streamed or not", async (param, fields) => {
    const { post, engine } = await opened({ contextSize: 700 });
    for (const stream of [false, true]) {
      const response = await post("/v1/completions", { ...ask, ...fields, stream });
      expect(response.status).toBe(400);
      expect((await json(response)).error.param).toBe(param);
    }
    expect(engine.calls).toEqual([]);
  });

  it("is not for routes with a chat template that are not plain, and names the others", async () => {
    const { post } = await opened();
    const response = await post("/v1/completions", { ...ask, model: "icdpo" });
    expect(response.status).toBe(400);
    expect((await json(response)).error.message).toContain(": plain, hh, post, shown.");
  });
});
