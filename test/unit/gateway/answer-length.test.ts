import { describe, expect, it } from "vitest";
import { hashKey } from "../../../src/access/access.ts";
import { MemoryRateLimiter } from "../../../src/access/minute-counts.ts";
import { cancelled } from "../../../src/types/error.ts";
import type { Script, ScriptedEngine } from "../scripted-engine.ts";
import { gateway, json } from "../scripted-gateway.ts";

const size = 10_000;

function bounds(engine: ScriptedEngine): number[] {
  return engine.calls.flatMap((call) => (call.type === "sample" ? [call.request.maxTokens] : []));
}

function room(engine: ScriptedEngine): number {
  return size - (engine.calls[0]?.context.length ?? 0);
}

describe("an answer whose length nobody says", () => {
  it.each([
    ["plain", {}],
    ["plain", { max_tokens: null }],
    ["plain", { max_tokens: -1 }],
    ["plain", { max_completion_tokens: -1 }],
    ["plain", { n_predict: -1 }],
    ["plain", { n: 3 }],
    ["icdpo", { temperature: 0 }],
  ])("ends where the context does, if the model does not end it: %s, %j", async (model, body) => {
    const { chat, engine } = await gateway({ contextSize: size });
    expect((await chat({ model, ...body })).status).toBe(200);
    expect(bounds(engine)).toEqual([room(engine)]);
  });

  it("ends there on /v1/responses, too", async () => {
    for (const fields of [{}, { max_output_tokens: null }, { max_output_tokens: -1 }]) {
      const { post, engine } = await gateway({ contextSize: size });
      const { max_output_tokens } = await json(await post("/v1/responses", { model: "plain", input: "Hi", ...fields }));
      expect([bounds(engine), max_output_tokens]).toEqual([[room(engine)], null]);
    }
  });

  it("has a generous bound where candidates compete, which is explained", async () => {
    const { chat, engine } = await gateway({ contextSize: size });
    const { icdpo } = await json(await chat({ icdpo: { explain: true } }));
    expect(bounds(engine)).toEqual([1_024]);
    expect(icdpo.max_tokens).toBe(1_024);
  });

  it("has what the context leaves where that is less", async () => {
    const { chat } = await gateway({ contextSize: 1_500 });
    const { icdpo } = await json(await chat({ icdpo: { explain: true } }));
    expect(icdpo.max_tokens).toBeLessThan(1_500);
  });

  it("has the policy's bound where it says one, and the request's before that", async () => {
    const short = "candidates: 1\nscore: { type: none }\nsampling: { max_tokens: 128 }\n";
    const { chat, engine } = await gateway({ contextSize: size }, {}, { short });
    await chat({ model: "short" });
    await chat({ model: "short", max_tokens: 700 });
    expect(bounds(engine)).toEqual([128, 700]);
  });

  it("is as long as can be held with its log-probabilities", async () => {
    const { chat, engine } = await gateway({ contextSize: 1_000_000 });
    expect((await chat({ model: "plain", logprobs: true, top_logprobs: 20 })).status).toBe(200);
    expect(bounds(engine)[0]).toBeLessThan(20_000);
    const response = await chat({ model: "plain", logprobs: true, top_logprobs: 20, max_tokens: 900_000 });
    expect((await json(response)).error.param).toBe("top_logprobs");
  });
});

describe("a key with a limit of tokens", () => {
  const headers = { authorization: "Bearer secret" };
  const long = (letters: number): Script => ({
    sample: (index) => ({ text: `${index} ${Array.from({ length: letters / 4 }, () => "word").join(" ")}` }),
  });

  async function limited(tokensPerMinute: number, script: Script) {
    const keys = [{ name: "alice", hash: await hashKey("secret"), routes: null, limits: { tokensPerMinute } }];
    const made = await gateway({ contextSize: 100_000, ...script }, { keys, limiter: new MemoryRateLimiter({}) });
    const left = async (): Promise<number> => {
      const response = await made.app.request("/v1/models", { headers });
      return Number(response.headers.get("x-ratelimit-remaining-tokens"));
    };
    return { ...made, left };
  }

  /** As engines are: others have their turn between two pieces of text. */
  function takingTurns(engine: ScriptedEngine): void {
    const { sample } = engine;
    engine.sample = async function* (...call) {
      for await (const event of sample.apply(engine, call)) {
        await new Promise((resolve) => setImmediate(resolve));
        if (call[2]?.aborted) throw cancelled(call[2]);
        yield event;
      }
    };
  }

  it("is not asked for all that the context leaves", async () => {
    const { chat, left, engine } = await limited(1_000, {});
    expect((await chat({ model: "plain" }, headers)).status).toBe(200);
    expect(await left()).toBe(1_000 - engine.worked);
  });

  it("pays for a long answer as it is made, to the token", async () => {
    const { chat, left, engine } = await limited(5_000, long(3_000));
    const { choices } = await json(await chat({ model: "plain" }, headers));
    expect(choices[0].finish_reason).toBe("stop");
    expect(engine.worked).toBeGreaterThan(3_000);
    expect(await left()).toBe(5_000 - engine.worked);
  });

  it.each(["plain", "icdpo"])("gets an answer that ends where it has nothing left: %s", async (model) => {
    const { chat, left, engine } = await limited(4_000, long(40_000));
    takingTurns(engine);
    const response = await chat({ model, icdpo: { explain: true } }, headers);
    const { choices, icdpo } = await json(response);
    expect([response.status, choices[0].finish_reason, icdpo.fallback]).toEqual([200, "length", "limit"]);
    expect(engine.worked).toBeLessThan(model === "plain" ? 4_700 : 7_000);
    expect(await left()).toBe(0);
    expect((await chat({ model }, headers)).status).toBe(429);
  });

  it("is asked for all of it where the request says how long it may be", async () => {
    const { chat } = await limited(1_000, {});
    const { error } = await json(await chat({ model: "plain", max_tokens: 5_000 }, headers));
    expect(error.message).toContain("it never fits");
  });
});
