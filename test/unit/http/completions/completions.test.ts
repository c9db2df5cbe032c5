import { describe, expect, it } from "vitest";
import { beginning, encode, endOfText, mark, type Script } from "../../scripted-engine.ts";
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

  it.each([
    ["as control tokens", {}, [mark, ..."hi"]],
    ["as text where the request says so", { parse_special: false }, [..."<|mark|>hi"]],
  ])("takes control tokens that a raw prompt spells %s", async (_, fields, expected) => {
    const { post, engine } = await gateway(says("."));
    const prompt = "<|mark|>hi";
    const { usage } = await json(await post("/v1/completions", { ...ask, prompt, ...fields }));
    expect(usage.prompt_tokens).toBe(expected.length);
    expect(engine.calls[0]?.context).toBe(
      expected.map((one) => (typeof one === "number" ? String.fromCharCode(one) : one)).join(""),
    );
  });

  it("never takes a chat's text for control tokens", async () => {
    const { chat, engine } = await gateway();
    await chat({ model: "plain", messages: [{ role: "user", content: "<|mark|>" }], parse_special: true });
    expect(engine.calls[0]?.context).toContain("<|mark|>");
  });

  it.each([
    ["its own beginning", {}, "hi", [beginning, ..."hi"], ["h", "i"]],
    ["the beginning that it spells", {}, "<|begin|>hi", [beginning, ..."hi"], ["\u0003", "h", "i"]],
    ["none where the request says so", { add_special_tokens: false }, "hi", [..."hi"], ["h", "i"]],
  ])("gives a text %s once, and echoes what the client wrote", async (_, fields, prompt, tokens, echoed) => {
    const { post, engine } = await gateway({ ...says("."), begins: true });
    const body = { ...ask, prompt, echo: true, logprobs: 1, max_tokens: 0, ...fields };
    const { choices, usage } = await json(await post("/v1/completions", body));
    expect(usage.prompt_tokens).toBe(tokens.length);
    expect(choices[0].logprobs.tokens).toEqual(echoed);
    expect(choices[0].text).toBe(echoed.join(""));
    const [call] = engine.calls;
    expect(call?.context).toBe(typeof tokens[0] === "number" ? "\u0003" : "h");
  });

  describe("as evaluators ask for log-likelihoods", () => {
    const logprobs = { echo: true, logprobs: 1, temperature: 0 };
    /** Of each token by its place, so that none can be taken for another. */
    const placed: Script = {
      sample: () => ({ text: "" }),
      sum: (context, response) => -context.length - response.length,
    };

    it.each(["text", "ids"])(
      "has a value for each token of the prompt, and for the one that ends the answer (%s)",
      async (form) => {
        const { post } = await gateway(placed);
        const prompt = form === "text" ? "abc" : [encode("abc")];
        const { choices } = await json(await post("/v1/completions", { ...ask, prompt, ...logprobs, max_tokens: 1 }));
        expect(choices[0].text).toBe("abc");
        expect(choices[0].logprobs.tokens).toEqual(["a", "b", "c", String.fromCharCode(endOfText)]);
        // The last is log π(end ∣ abc); [context, -1] is what lm-eval sums.
        expect(choices[0].logprobs.token_logprobs.at(-1)).toBe(-3);
        expect(choices[0].logprobs.token_logprobs.slice(1, -1)).toEqual([-1, -1]);
        expect(choices[0].logprobs.top_logprobs).toHaveLength(4);
      },
    );

    it("streams the same values", async () => {
      const { post } = await gateway(placed);
      const body = { ...ask, prompt: "abc", ...logprobs, max_tokens: 1 };
      const whole = await json(await post("/v1/completions", body));
      const { chunks } = await readStream(await post("/v1/completions", { ...body, stream: true }));
      const values = chunks.flatMap(({ choices }) => choices[0].logprobs.token_logprobs);
      expect(values).toEqual(whole.choices[0].logprobs.token_logprobs);
    });

    it("asks for no closing token that was not sampled", async () => {
      const { post, engine } = await gateway(says("d", "length"));
      const { choices } = await json(
        await post("/v1/completions", { ...ask, prompt: "ab", ...logprobs, max_tokens: 1 }),
      );
      expect(choices[0].logprobs.tokens).toEqual(["a", "b", "d"]);
      expect(engine.calls.filter(({ type }) => type === "score")).toHaveLength(1);
    });
  });

  describe("with a suffix", () => {
    const infill = { prefix: 0xe001, suffix: 0xe002, middle: 0xe003 };
    const capabilities = { chat: true, text: true, score: true, grammar: true, tools: null, infill };

    it("fills in the middle by the vocabulary's own tokens", async () => {
      const { post, engine } = await gateway({ ...says("x"), capabilities, begins: true });
      const body = { ...ask, prompt: "f(<|mark|>", suffix: ")" };
      const { choices, usage } = await json(await post("/v1/completions", body));
      expect(choices[0].text).toBe("x");
      // What stands in a file is text, whatever it spells.
      expect(engine.calls[0]?.context).toBe("\u0003\ue001f(<|mark|>\ue002)\ue003");
      expect(usage.prompt_tokens).toBe(15);
      await post("/v1/completions", { ...body, parse_special: true });
      expect(engine.calls[1]?.context).toBe("\u0003\ue001f(\u0002\ue002)\ue003");
    });

    it("says so where the model has none", async () => {
      const { post, engine } = await gateway(says("x"));
      const response = await post("/v1/completions", { ...ask, suffix: ")" });
      expect(response.status).toBe(400);
      const { error } = await json(response);
      expect(error).toMatchObject({ param: "suffix", code: "unsupported_parameter" });
      expect(error.message).toContain("no tokens for filling in the middle");
      expect(engine.calls).toEqual([]);
    });

    it.each([
      ["echo", { echo: true }],
      ["prompt", { prompt: [1, 2] }],
      ["suffix", { suffix: "x".repeat(20_000_0) }],
    ])("refuses %s that cannot go with it", async (param, fields) => {
      const { post } = await gateway({ ...says("x"), capabilities, contextSize: 100 }, { maxBodyBytes: 1_000_000 });
      const response = await post("/v1/completions", { ...ask, suffix: ")", ...fields });
      expect(response.status).toBe(400);
      expect((await json(response)).error.param).toBe(param);
    });
  });

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
