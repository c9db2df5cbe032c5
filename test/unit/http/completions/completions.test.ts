import { describe, expect, it } from "vitest";
import { encode, type Script } from "../../scripted-engine.ts";
import { gateway, json, readStream } from "../../scripted-gateway.ts";

const says = (text: string, finish: "stop" | "length" = "stop"): Script => ({
  sample: () => ({ text, finish }),
  sum: (_, response) => -(response.length + 1),
});

describe("POST /v1/completions", () => {
  const ask = { model: "plain", prompt: "Once upon" };

  it("goes on from raw text, in OpenAI's shape", async () => {
    const { post, engine } = await gateway(says(" a time"));
    expect(await json(await post("/v1/completions", ask))).toEqual({
      id: expect.stringMatching(/^cmpl-/u),
      object: "text_completion",
      created: 1_700_000_000,
      model: "plain",
      system_fingerprint: expect.stringMatching(/^fp_/u),
      choices: [{ text: " a time", index: 0, logprobs: null, finish_reason: "stop" }],
      usage: { prompt_tokens: 9, completion_tokens: 7, total_tokens: 16 },
    });
    const [call] = engine.calls;
    expect(call?.context).toBe("Once upon");
    expect(call?.type === "sample" && call.request.maxTokens).toBe(16);
  });

  it("takes several prompts, texts or token ids, and several answers of each", async () => {
    const { post } = await gateway({ sample: (index, prompt) => ({ text: `${prompt}/${index}` }) });
    for (const prompt of [
      ["a", "b"],
      [encode("a"), encode("b")],
    ]) {
      const { choices } = await json(await post("/v1/completions", { ...ask, prompt, n: 2 }));
      expect(choices.map(({ index, text }: { index: number; text: string }) => [index, text])).toEqual([
        [0, "a/0"],
        [1, "a/1"],
        [2, "b/0"],
        [3, "b/1"],
      ]);
    }
  });

  it("returns tokens, log-probabilities, alternatives and offsets", async () => {
    const { post } = await gateway(says("ab"));
    const { choices } = await json(await post("/v1/completions", { ...ask, logprobs: 2 }));
    expect(choices[0].logprobs).toEqual({
      tokens: ["a", "b"],
      token_logprobs: [-1, -1],
      top_logprobs: [
        { a: -1, b: -2 },
        { b: -1, c: -2 },
      ],
      text_offset: [0, 2 - 1],
    });
  });

  it("gives the prompt's own log-probabilities with echo, none for its first token", async () => {
    const { post, engine } = await gateway(says("d"));
    const { choices, usage } = await json(
      await post("/v1/completions", { ...ask, prompt: "abc", echo: true, logprobs: 1, max_tokens: 1, temperature: 0 }),
    );
    expect(choices[0].text).toBe("abcd");
    expect(choices[0].logprobs).toMatchObject({ tokens: ["a", "b", "c", "d"], text_offset: [0, 1, 2, 3] });
    expect(choices[0].logprobs.token_logprobs[0]).toBeNull();
    expect(choices[0].logprobs.top_logprobs[0]).toBeNull();
    expect(choices[0].logprobs.token_logprobs.slice(1).every(Number.isFinite)).toBe(true);
    expect(usage).toEqual({ prompt_tokens: 3, completion_tokens: 1, total_tokens: 4 });
    expect(engine.calls.find(({ type }) => type === "score")?.context).toBe("a");
  });

  it("evaluates a prompt without sampling where max_tokens is 0", async () => {
    const { post, engine } = await gateway(says("d"));
    const { choices } = await json(
      await post("/v1/completions", { ...ask, prompt: [encode("abc")], echo: true, logprobs: 0, max_tokens: 0 }),
    );
    expect(choices).toEqual([
      {
        text: "abc",
        index: 0,
        finish_reason: "length",
        logprobs: expect.objectContaining({ tokens: ["a", "b", "c"], top_logprobs: null }),
      },
    ]);
    expect(engine.calls.map(({ type }) => type)).toEqual(["score"]);
  });

  it.each([false, true])("streams pieces of each choice, then its finish, then usage (echo %s)", async (echo) => {
    const { post } = await gateway(says(" a time", "length"));
    const response = await post("/v1/completions", {
      ...ask,
      n: 2,
      echo,
      stream: true,
      stream_options: { include_usage: true },
    });
    const { chunks } = await readStream(response);
    const choices = chunks.flatMap((chunk) => chunk.choices);
    for (const index of [0, 1]) {
      const own = choices.filter((choice) => choice.index === index);
      expect(own.map(({ text }) => text).join("")).toBe(`${echo ? "Once upon" : ""} a time`);
      expect(own.map(({ finish_reason }) => finish_reason)).toEqual([...own.slice(1).map(() => null), "length"]);
    }
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 9, completion_tokens: 14, total_tokens: 23 },
    });
  });

  it.each([false, true])(
    "begins with no prompt where one of them holds a token that the model does not have (stream %s)",
    async (stream) => {
      const { post, engine } = await gateway(says(" a time"));
      const response = await post("/v1/completions", { ...ask, prompt: [encode("a"), [65, 65_536]], stream });
      expect(response.status).toBe(400);
      expect((await json(response)).error).toMatchObject({
        param: "prompt",
        message: expect.stringContaining("no token 65536"),
      });
      expect(engine.calls).toEqual([]);
    },
  );

  it("is for plain routes, and says which they are", async () => {
    const { post, engine } = await gateway();
    const response = await post("/v1/completions", { ...ask, model: "icdpo" });
    expect(response.status).toBe(400);
    expect((await json(response)).error).toMatchObject({
      param: "model",
      message: expect.stringContaining(": plain."),
    });
    expect(engine.calls).toEqual([]);
  });

  it.each([
    ["prompt", { prompt: [] }],
    ["prompt", { prompt: "" }],
    ["prompt.0.0", { prompt: [[-1]] }],
    ["suffix", { suffix: "end" }],
    ["best_of", { best_of: 3 }],
    ["logprobs", { logprobs: 21 }],
    ["n", { n: 17 }],
    ["max_tokens", { max_tokens: -1 }],
  ])("refuses a wrong %s, streamed or not", async (param, body) => {
    const { post } = await gateway();
    for (const stream of [false, true]) {
      const response = await post("/v1/completions", { ...ask, ...body, stream });
      expect(response.status).toBe(400);
      expect((await json(response)).error.param).toBe(param);
    }
  });
});
