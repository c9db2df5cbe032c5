import { describe, expect, it } from "vitest";
import { Admission } from "../../src/gateway/admission.ts";
import { GatewayError } from "../../src/types/error.ts";
import { gate, quiet, type Script, type ScriptedEngine } from "./scripted-engine.ts";
import { eventsOf, gateway, json, readStream } from "./scripted-gateway.ts";

describe("POST /v1/chat/completions", () => {
  it("returns the candidate with the largest Ŝ in OpenAI's shape, and nothing else", async () => {
    const { chat } = await gateway();
    const response = await chat({});
    expect(response.status).toBe(200);
    expect(await json(response)).toEqual({
      id: "chatcmpl-1",
      object: "chat.completion",
      created: 1_700_000_000,
      model: "icdpo",
      choices: [
        {
          index: 0,
          message: { role: "assistant", content: "Candidate number 1.", refusal: null },
          logprobs: null,
          finish_reason: "stop",
        },
      ],
      usage: {
        prompt_tokens: "<user>How do I brew coffee?</user><assistant>".length,
        completion_tokens: 19,
        total_tokens: 64,
      },
      system_fingerprint: expect.stringMatching(/^fp_[0-9a-f]{12}$/u),
    });
  });

  it("says in headers what happened", async () => {
    const { chat } = await gateway();
    const { headers } = await chat({});
    expect(headers.get("x-icdpo-route")).toBe("icdpo");
    expect(headers.get("x-icdpo-policy")).toMatch(/^scored@[0-9a-f]{12}$/u);
    expect(headers.get("x-icdpo-candidates")).toBe("3");
    expect(headers.get("x-icdpo-score")).toBe("10.0000");
    // 3 × 19 characters sampled; each with its closing token scored after C⁻
    expect(headers.get("x-icdpo-tokens")).toMatch(/^prompt=\d+;sampled=57;scored=60;cached=0$/u);
    expect(headers.get("server-timing")).toBe("retrieve;dur=0.0, sample;dur=0.0, score;dur=0.0");
    expect(headers.get("x-request-id")).toBe("req_0");
  });

  it("says in a header how many of the contexts' tokens were cached", async () => {
    const cached = (context: string) => (context.includes("Who cares.") ? 30 : 12);
    const tokens = async (overrides: Script, model = "icdpo") =>
      (await (await gateway(overrides)).chat({ model })).headers.get("x-icdpo-tokens");
    expect(await tokens({ cached })).toMatch(/;cached=42$/u);
    expect(await tokens({ cached }, "plain")).toMatch(/;scored=0;cached=12$/u);
    expect(await tokens({ cached: null })).toMatch(/;cached=0$/u);
  });

  it("explains the candidates and demonstrations when asked", async () => {
    const { chat } = await gateway();
    const { icdpo } = await json(await chat({ icdpo: { explain: true } }));
    expect(icdpo.route).toBe("icdpo");
    expect(icdpo.arm).toBeNull();
    expect(icdpo.demonstrations.map(({ id }: { id: string }) => id).toSorted()).toEqual(["rain", "tea"]);
    expect(icdpo.candidates.map(({ index, chosen }: { index: number; chosen: boolean }) => [index, chosen])).toEqual([
      [0, false],
      [1, true],
      [2, false],
    ]);
    expect(icdpo.candidates[1]).toMatchObject({
      content: "Candidate number 1.",
      finish_reason: "stop",
      tokens: 20,
      chosen: true,
    });
    expect(icdpo.candidates[1].positive).toBeCloseTo(-20);
    expect(icdpo.candidates[1].negative).toBeCloseTo(-30);
    expect(icdpo.candidates[1].score).toBeCloseTo(10);
    expect(icdpo.fallback).toBeNull();
  });

  it("explains which near negatives were shown, where the policy's score asks for them", async () => {
    const near = "demonstrations: set\nretriever: { type: bm25 }\nscore: { type: contrast, negative: near }\n";
    const { chat, engine } = await gateway({}, {}, { near });
    const { icdpo } = await json(await chat({ model: "near", icdpo: { explain: true } }));
    const shown = icdpo.demonstrations.map((one: { id: string; near: string }) => [one.id, one.near]);
    expect(shown.toSorted()).toEqual([
      ["rain", "It might."],
      ["tea", "Use water."],
    ]);
    const scored = engine.calls.flatMap(({ type, context }) => (type === "score" ? [context] : []));
    expect(scored.some((context) => context.includes("It might.") && context.includes("Use water."))).toBe(true);
    const plainly = await json(await chat({ icdpo: { explain: true } }));
    expect(Object.keys(plainly.icdpo.demonstrations[0])).toEqual(["id", "similarity"]);
  });

  it("returns the n best, best first", async () => {
    const { chat } = await gateway();
    const { choices } = await json(await chat({ n: 2 }));
    expect(choices.map(({ message }: { message: { content: string } }) => message.content)).toEqual([
      "Candidate number 1.",
      "Candidate number 0.",
    ]);
    expect(choices.map(({ index }: { index: number }) => index)).toEqual([0, 1]);
  });

  it("gives as many greedy answers as asked for from one sample", async () => {
    const { chat, engine } = await gateway();
    const { choices } = await json(await chat({ n: 2, temperature: 0 }));
    expect(choices.map(({ message }: { message: { content: string } }) => message.content)).toEqual([
      "Candidate number 0.",
      "Candidate number 0.",
    ]);
    expect(engine.calls.filter((call) => call.type === "sample").map((call) => call.request.seeds.length)).toEqual([1]);
  });

  it("takes the client's parameters over the policy's", async () => {
    const { chat, engine } = await gateway();
    await chat({
      model: "plain",
      temperature: 0.5,
      top_p: 0.9,
      max_completion_tokens: 5,
      max_tokens: 9,
      stop: "END",
      seed: -1,
    });
    const [call] = engine.calls;
    expect(call).toMatchObject({ request: { temperature: 0.5, topP: 0.9, topK: 50, maxTokens: 5, stop: ["END"] } });
  });

  it("reads content parts, developer messages and null content of the assistant", async () => {
    const { chat, engine } = await gateway();
    const messages = [
      { role: "developer", content: "Be brief." },
      {
        role: "user",
        content: [
          { type: "text", text: "How do " },
          { type: "text", text: "you do?" },
        ],
      },
      { role: "assistant", content: null },
      { role: "user", content: "Well?" },
    ];
    await chat({ model: "plain", messages });
    expect(engine.calls[0]?.context).toBe(
      "<system>Be brief.</system><user>How do you do?</user><assistant></assistant><user>Well?</user><assistant>",
    );
  });

  it("serves a route by path, header and alias, and echoes the client's model", async () => {
    const { chat, post } = await gateway();
    const messages = [{ role: "user", content: "Hi" }];
    const byPath = await post("/routes/plain/v1/chat/completions", { model: "whatever", messages });
    const byHeader = await chat({ model: "whatever" }, { "x-icdpo-route": "plain" });
    const byAlias = await chat({ model: "gpt-4o-mini" });
    expect([byPath, byHeader, byAlias].map(({ headers }) => headers.get("x-icdpo-route"))).toEqual([
      "plain",
      "plain",
      "icdpo",
    ]);
    expect((await json(byPath)).model).toBe("whatever");
    expect((await json(byAlias)).model).toBe("gpt-4o-mini");
  });

  it("returns the first finished candidate and says so when the budget is spent", async () => {
    const hold = (_what: string, signal: AbortSignal | undefined) =>
      new Promise<void>((resolve) => {
        signal?.addEventListener("abort", () => resolve(), { once: true });
      });
    const { chat } = await gateway({
      pause: (what, signal) => (what === "score" ? hold(what, signal) : Promise.resolve()),
    });
    const { choices, icdpo } = await json(await chat({ model: "slow", icdpo: { explain: true } }));
    expect(choices[0].message.content).toBe("Candidate number 0.");
    expect(icdpo.fallback).toBe("budget");
  });
});

const scored = "demonstrations: set\nretriever: { type: bm25 }\nscore: { type: contrast, negative: rejected }\n";

describe("streaming", () => {
  it("streams a plain policy as it decodes, with usage last if asked for", async () => {
    const { chat } = await gateway();
    const { comments, chunks } = await readStream(
      await chat({ model: "plain", stream: true, stream_options: { include_usage: true } }),
    );
    expect(comments).toEqual([]);
    const deltas = chunks.flatMap(({ choices }) => choices.map(({ delta }: { delta: unknown }) => delta));
    expect(deltas).toEqual([
      { role: "assistant", content: "", refusal: null },
      { content: "Candidate" },
      { content: " number" },
      { content: " 0." },
      {},
    ]);
    expect(chunks.at(-2).choices[0].finish_reason).toBe("stop");
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 45, completion_tokens: 19, total_tokens: 64 },
    });
    expect(chunks[0].usage).toBeNull();
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
  });

  it("keeps a stream that is chosen whole alive with comments, then sends the winner in chunks", async () => {
    const slow = () => new Promise<void>((resolve) => setTimeout(resolve, 20));
    const { chat } = await gateway({ pause: slow }, {}, { whole: `${scored}stream: whole\n` });
    const response = await chat({ model: "whole", stream: true, icdpo: { explain: true } });
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    expect(response.headers.get("x-accel-buffering")).toBe("no");
    expect(response.headers.get("x-icdpo-score")).toBeNull();
    expect(response.headers.get("server-timing")).toBe("retrieve;dur=0.0");
    const { comments, chunks } = await readStream(response);
    expect(comments.length).toBeGreaterThan(1);
    expect(new Set(comments)).toEqual(new Set([": ping\n"]));
    expect(chunks[0].choices[0].delta).toEqual({ role: "assistant", content: "", refusal: null });
    expect(chunks.flatMap(({ choices }) => choices[0].delta.role ?? [])).toEqual(["assistant"]);
    expect(chunks.map(({ choices }) => choices[0].delta.content ?? "").join("")).toBe("Candidate number 1.");
    expect(chunks[0]).not.toHaveProperty("usage");
    expect(chunks.at(-1).icdpo.candidates).toHaveLength(3);
    expect(chunks.at(-1).choices[0].finish_reason).toBe("stop");
  });

  it.each(["icdpo", "plain"])("opens with who speaks before anything is sampled: %s", async (model) => {
    const { opened, open } = gate();
    const { chat } = await gateway({ pause: () => opened });
    const response = await chat({ model, stream: true, n: 2 });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const first = new TextDecoder().decode((await reader.read()).value);
    const roles = eventsOf(first).filter((event) => event.startsWith("data: "));
    const choices = roles.map((event) => JSON.parse(event.slice(6)).choices[0]);
    expect(choices.map(({ index, delta }) => [index, delta.role])).toEqual([
      [0, "assistant"],
      [1, "assistant"],
    ]);
    open();
    await reader.cancel();
  });

  it("keeps the texts of several plain choices apart", async () => {
    const { chat } = await gateway();
    const { chunks } = await readStream(await chat({ model: "plain", stream: true, n: 2 }));
    const texts = ["", ""];
    for (const { choices } of chunks) for (const { index, delta } of choices) texts[index] += delta.content ?? "";
    expect(texts).toEqual(["Candidate number 0.", "Candidate number 1."]);
  });

  it("answers what is wrong with the request before the first byte", async () => {
    const { chat } = await gateway({ contextSize: 30 });
    const response = await chat({ model: "plain", stream: true });
    expect(response.status).toBe(400);
    expect((await json(response)).error.code).toBe("context_length_exceeded");
  });

  it("sends an error event when the engine fails on the way", async () => {
    const pause = () => Promise.reject(new GatewayError("engine_unavailable", "It died."));
    const { chat, reported } = await gateway({ pause });
    const response = await chat({ stream: true });
    expect(response.status).toBe(200);
    const events = eventsOf(await response.text()).filter((event) => event.startsWith("data: "));
    expect(events.slice(1)).toEqual([
      `data: ${JSON.stringify({ error: { message: "It died.", type: "server_error", param: null, code: "engine_unavailable" } })}`,
    ]);
    expect(reported).toHaveLength(1);
  });

  it("stops the engine's work when the client leaves", async () => {
    let stopped: AbortSignal | undefined;
    const pause = (_what: string, signal: AbortSignal | undefined) => {
      stopped = signal;
      return new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }));
    };
    const { chat } = await gateway({ pause });
    const response = await chat({ stream: true });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    await reader.read();
    await reader.cancel();
    expect(stopped?.aborted).toBe(true);
  });
});

/** The texts of a stream's choices, put together, and its last event. */
async function readTexts(response: Response) {
  const data = eventsOf(await response.text()).filter((event) => event.startsWith("data: "));
  const events = data.map((event) => event.slice(6)).map((event) => (event === "[DONE]" ? event : JSON.parse(event)));
  const texts: string[] = [];
  for (const { choices = [] } of events)
    for (const { index, delta } of choices) texts[index] = (texts[index] ?? "") + (delta.content ?? "");
  return { texts, last: events.at(-1) };
}

describe("a busy gateway", () => {
  const overloaded = {
    error: {
      message: expect.stringMatching(/busy with 1 requests.*Retry in 1 s/u),
      type: "requests",
      param: null,
      code: "rate_limit_exceeded",
    },
  };
  const ask = { model: "plain", messages: [{ role: "user", content: "Hi" }] };
  /** Takes one request at once; the first stays with the engine until the gate opens. */
  const full = async (first: Record<string, unknown> = {}, signal?: AbortSignal) => {
    const { opened, open } = gate();
    const site = await gateway({ pause: () => opened }, { admission: new Admission({ limit: 1, now: () => 0 }) });
    const held = Promise.resolve(site.chat({ ...ask, ...first }, {}, signal));
    await quiet();
    return { ...site, held, open };
  };

  it.each([
    ["a chat completion", "/v1/chat/completions", ask],
    ["a stream", "/v1/chat/completions", { ...ask, stream: true }],
    ["a scored stream", "/v1/chat/completions", { ...ask, model: "icdpo", stream: true }],
    ["a scoring", "/v1/score", { ...ask, completions: ["a"] }],
  ])("refuses %s in OpenAI's shape, before the first byte, and calls no engine for it", async (_, path, body) => {
    const { post, engine, held, open, reported } = await full();
    const response = await post(path, body);
    expect(response.status).toBe(429);
    expect(response.headers.get("content-type")).toContain("application/json");
    expect(response.headers.get("retry-after")).toMatch(/^[1-9]\d*$/u);
    expect(await json(response)).toEqual(overloaded);
    expect(engine.calls).toHaveLength(1);
    expect(reported).toEqual([]);
    open();
    expect((await held).status).toBe(200);
  });

  it("takes the next request once the one under way has been answered, and says in /health how many there are", async () => {
    const { chat, held, open, requests } = await full();
    expect(await requests()).toBe(1);
    open();
    await held;
    expect(await requests()).toBe(0);
    expect((await chat({})).status).toBe(200);
  });

  it("still tells whether it is alive and ready, lists its models and refuses what is wrong with a request", async () => {
    const { app, post, chat, held, open } = await full();
    for (const path of ["/health", "/ready", "/v1/models"]) expect((await app.request(path)).status).toBe(200);
    expect((await chat({ n: 0 })).status).toBe(400);
    expect((await post("/v1/chat/completions", { ...ask, model: "unknown" })).status).toBe(404);
    open();
    await held;
  });

  it("counts a stream until its work has ended", async () => {
    const { held, open, requests } = await full({ stream: true });
    const response = await held;
    expect(await requests()).toBe(1);
    open();
    expect((await readTexts(response)).texts).toEqual(["Candidate number 0."]);
    expect(await requests()).toBe(0);
  });

  it("has room again when a client leaves", async () => {
    const leave = new AbortController();
    const { held, requests } = await full({}, leave.signal);
    leave.abort();
    expect((await held).status).toBe(499);
    expect(await requests()).toBe(0);
  });

  it("has room again when a client leaves a stream", async () => {
    const { held, requests } = await full({ model: "icdpo", stream: true });
    await (await held).body?.cancel();
    await quiet();
    expect(await requests()).toBe(0);
  });

  it("has room again when a request fails, or is wrong", async () => {
    const { chat, requests } = await gateway(
      { pause: () => Promise.reject(new TypeError("oops")), contextSize: 60 },
      { admission: new Admission({ limit: 1, now: () => 0 }) },
    );
    expect((await chat(ask)).status).toBe(500);
    const streamed = await chat({ ...ask, stream: true });
    expect(streamed.status).toBe(200);
    await streamed.text();
    expect((await chat({ model: "plain", messages: [{ role: "user", content: "x".repeat(60) }] })).status).toBe(400);
    expect(await requests()).toBe(0);
  });
});

describe("an engine that ends in the middle of a request", () => {
  const died = new GatewayError("engine_unavailable", "It died.");
  const oom = new GatewayError("engine_failure", "Out of memory.");
  /** The engine fails when it is asked to go on for the first so many times at that place. */
  const failing = (times: number, error: Error, at: "sample" | "score" = "sample", place = 0): Script => {
    let left = times;
    return {
      pause: async (what, _, index) => {
        if (what === at && index === place && left-- > 0) throw error;
      },
    };
  };
  const samplings = ({ calls }: ScriptedEngine) => calls.filter(({ type }) => type === "sample").length;
  const rendered = { error: { message: "It died.", type: "server_error", param: null, code: "engine_unavailable" } };

  it.each([
    ["sampling", "sample", 2],
    ["scoring", "score", 0],
  ] as const)(
    "is not noticed where it comes back: the answer is that of a whole run, after a failure in %s",
    async (_, at, place) => {
      const { chat, engine, reported, requests } = await gateway(failing(1, died, at, place));
      const response = await chat({});
      expect(response.status).toBe(200);
      expect(response.headers.get("x-icdpo-tokens")).toMatch(/;sampled=57;scored=60;cached=0$/u);
      expect((await json(response)).choices[0].message.content).toBe("Candidate number 1.");
      expect(samplings(engine)).toBe(2);
      expect(reported).toEqual([]);
      expect(await requests()).toBe(0);
    },
  );

  it("is not noticed by who has completions scored", async () => {
    const body = { model: "icdpo", messages: [{ role: "user", content: "Hi" }], completions: ["a", "b"] };
    const [whole, broken] = [await gateway(), await gateway(failing(1, died, "score", 1))];
    const response = await broken.post("/v1/score", body);
    expect(response.status).toBe(200);
    expect(await json(response)).toEqual(await json(await whole.post("/v1/score", body)));
  });

  it.each([
    ["a plain stream", { model: "plain" }, ["Candidate number 0."], failing(1, died)],
    ["a scored stream in sampling", {}, ["Candidate number 1."], failing(1, died, "sample", 2)],
    ["a scored stream in scoring", {}, ["Candidate number 1."], failing(1, died, "score", 1)],
  ])("is not noticed by who has been sent no text: %s", async (_, body, expected, overrides) => {
    const { chat, engine, reported } = await gateway(overrides);
    const response = await chat({ ...body, stream: true });
    expect(response.headers.get("server-timing")).toBe("retrieve;dur=0.0");
    const { texts, last } = await readTexts(response);
    expect(texts).toEqual(expected);
    expect(last).toBe("[DONE]");
    expect(samplings(engine)).toBe(2);
    expect(reported).toEqual([]);
  });

  it("does not take back text that has been sent: the stream ends with an error, and nothing is sent twice", async () => {
    const { chat, engine, reported } = await gateway(failing(1, died, "sample", 1));
    const { texts, last } = await readTexts(await chat({ model: "plain", n: 2, stream: true }));
    expect(texts).toEqual(["Candidate number 0.", ""]);
    expect(last).toEqual(rendered);
    expect(samplings(engine)).toBe(1);
    expect(reported).toHaveLength(1);
  });

  it("is tried once more, and no more", async () => {
    const { chat, engine, reported } = await gateway(failing(2, died));
    const response = await chat({ model: "plain" });
    expect(response.status).toBe(503);
    expect(await json(response)).toEqual(rendered);
    expect(samplings(engine)).toBe(2);
    expect(reported).toHaveLength(1);
    const streamed = await gateway(failing(2, died));
    expect(await readTexts(await streamed.chat({ model: "plain", stream: true }))).toEqual({
      texts: [""],
      last: rendered,
    });
    expect(samplings(streamed.engine)).toBe(2);
  });

  it("is another matter than a failure of the engine: that is told at once", async () => {
    const { chat, engine } = await gateway(failing(1, oom));
    expect((await chat({ model: "plain" })).status).toBe(500);
    expect(samplings(engine)).toBe(1);
  });

  it("is not tried again for a client that has left", async () => {
    const leave = new AbortController();
    const pause = async () => {
      leave.abort();
      throw died;
    };
    const { chat, engine, requests } = await gateway({ pause });
    expect((await chat({ model: "plain" }, {}, leave.signal)).status).toBe(499);
    expect(samplings(engine)).toBeLessThan(2);
    expect(await requests()).toBe(0);
  });
});

describe("errors", () => {
  const message = { role: "user", content: "Hi" };
  it.each([
    ["no messages", { messages: [] }, "messages"],
    ["an unknown role", { messages: [{ role: "robot", content: "" }] }, "messages.0.role"],
    [
      "an image",
      { messages: [{ role: "user", content: [{ type: "image_url", image_url: {} }] }] },
      "messages.0.content",
    ],
    ["a temperature that is too high", { temperature: 2.5 }, "temperature"],
    ["n = 0", { n: 0 }, "n"],
    ["n over the limit", { n: 17 }, "n"],
    ["17 stops", { stop: [..."abcdefghijklmnopq"] }, "stop"],
    ["a stop of 129 characters", { stop: "x".repeat(129) }, "stop"],
    ["max_tokens = 0", { max_tokens: 0 }, "max_tokens"],
    ["a fractional seed", { seed: 1.5 }, "seed"],
  ])("names the field: %s", async (_what, body, param) => {
    const { chat } = await gateway();
    const response = await chat({ messages: [message], ...body });
    expect(response.status).toBe(400);
    expect(await json(response)).toEqual({
      error: { message: expect.any(String), type: "invalid_request_error", param, code: null },
    });
  });

  it.each(["web_search_options", "audio", "modalities"])("refuses %s rather than dropping it", async (param) => {
    const { chat } = await gateway();
    const response = await chat({ [param]: 1 });
    expect(response.status).toBe(400);
    expect((await json(response)).error).toMatchObject({ param, code: "unsupported_parameter" });
  });

  it("accepts values that ask for nothing, and ignores unknown fields", async () => {
    const { chat } = await gateway();
    const response = await chat({
      tools: [],
      response_format: { type: "text" },
      logprobs: false,
      presence_penalty: 0,
      stop: null,
      service_tier: "auto",
      store: true,
      frobnicate: 1,
    });
    expect(response.status).toBe(200);
  });

  it("says 404 for an unknown model, and lists the known ones", async () => {
    const { chat } = await gateway();
    const response = await chat({ model: "gpt-17" });
    expect(response.status).toBe(404);
    const { error } = await json(response);
    expect(error).toMatchObject({ code: "model_not_found", param: "model" });
    expect(error.message).toContain("icdpo, plain, slow");
  });

  it("says 404 for an unknown path, 400 for broken JSON, 415 for another media type, 413 for too much", async () => {
    const { app, post } = await gateway();
    expect((await app.request("/v1/nothing")).status).toBe(404);
    expect((await post("/v1/chat/completions", '{"model": ')).status).toBe(400);
    expect((await post("/v1/chat/completions", "[]")).status).toBe(400);
    const form = await post("/v1/chat/completions", "model=icdpo", {
      "content-type": "application/x-www-form-urlencoded",
    });
    expect(form.status).toBe(415);
    const untold = await app.request("/v1/chat/completions", {
      method: "POST",
      body: new TextEncoder().encode('{"model": "icdpo"}'),
    });
    expect(untold.status).toBe(415);
    const large = await post(
      "/v1/chat/completions",
      JSON.stringify({ model: "icdpo", messages: [{ role: "user", content: "x".repeat(200_000) }] }),
    );
    expect(large.status).toBe(413);
    expect((await json(large)).error.type).toBe("invalid_request_error");
  });

  it("says 503 while the engine is down, with Retry-After, and reports it", async () => {
    const { chat, reported } = await gateway({
      pause: () => Promise.reject(new GatewayError("engine_unavailable", "It died.")),
    });
    const response = await chat({});
    expect(response.status).toBe(503);
    expect(response.headers.get("retry-after")).toBe("1");
    expect(reported).toHaveLength(1);
  });

  it("tells nothing of the inside when something unforeseen fails", async () => {
    const { chat, reported } = await gateway({ pause: () => Promise.reject(new TypeError("secret")) });
    const response = await chat({});
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("secret");
    expect(reported).toHaveLength(1);
  });

  it("says 503 when a request takes longer than allowed", async () => {
    const pause = (_what: string, signal: AbortSignal | undefined) =>
      new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }));
    const { chat } = await gateway({ pause }, { deadline: () => AbortSignal.timeout(10) });
    const response = await chat({});
    expect(response.status).toBe(503);
    expect((await json(response)).error.code).toBe("timeout");
  });
});

describe("the other endpoints", () => {
  it("lists the routes as models", async () => {
    const { app } = await gateway();
    expect(await json(await app.request("/v1/models"))).toEqual({
      object: "list",
      data: ["icdpo", "plain", "slow"].map((id) => ({
        id,
        object: "model",
        created: 1_600_000_000,
        owned_by: "icdpo",
      })),
    });
    expect(await json(await app.request("/v1/models/plain"))).toMatchObject({ id: "plain", object: "model" });
    expect((await app.request("/v1/models/gpt-4o-mini")).status).toBe(200);
    expect((await app.request("/v1/models/unknown")).status).toBe(404);
  });

  it("tells liveness from readiness", async () => {
    const { app } = await gateway({}, { engineState: async () => ({ status: "restarting" }) });
    expect((await app.request("/health")).status).toBe(200);
    const notReady = await app.request("/ready");
    expect(notReady.status).toBe(503);
    expect(await json(notReady)).toMatchObject({ engine: { status: "restarting" } });
    const { app: fine } = await gateway();
    expect((await fine.request("/ready")).status).toBe(200);
  });

  it("asks for readiness once in a second, however many want to know, also where it fails", async () => {
    for (const [state, status] of [
      [async () => ({ status: "ready" }), 200],
      [async () => ({ status: "restarting" }), 503],
      [() => Promise.reject(new Error("nobody there")), 503],
    ] as const) {
      let [time, asked] = [0, 0];
      const { opened, open } = gate();
      const engineState = async (): Promise<{ status: string }> => {
        asked += 1;
        await opened;
        return state();
      };
      const { app } = await gateway({}, { engineState, now: () => time });
      const waiting = Array.from({ length: 20 }, (_, i) => app.request(i % 2 === 0 ? "/ready" : "/health"));
      await quiet();
      expect(asked).toBe(1);
      open();
      for (const [i, response] of (await Promise.all(waiting)).entries())
        expect(response.status).toBe(i % 2 === 0 ? status : 200);
      time = 999;
      expect((await app.request("/ready")).status).toBe(status);
      expect(asked).toBe(1);
      time = 1_000;
      expect((await app.request("/ready")).status).toBe(status);
      expect(asked).toBe(2);
    }
  });

  it("waits for no other request's answer where requests are apart", async () => {
    let asked = 0;
    const engineState = async (): Promise<{ status: string }> => {
      asked += 1;
      return asked === 1 ? new Promise(() => {}) : { status: "ready" };
    };
    const { app } = await gateway({}, { engineState, isolated: true });
    void app.request("/ready");
    expect((await app.request("/ready")).status).toBe(200);
    const before = asked;
    expect((await app.request("/ready")).status).toBe(200);
    expect(asked).toBe(before);
  });

  it("scores given completions: all three sums, S, Ŝ and the choice", async () => {
    const sum = (context: string, response: string) => {
      const [good, bad] = [context.includes("Warm the pot"), context.includes("Who cares")];
      return (good ? -10 : bad ? -14 : -11) - response.length;
    };
    const { post } = await gateway({ sum });
    const response = await post("/v1/score", {
      model: "icdpo",
      messages: [{ role: "user", content: "Hi" }],
      completions: ["ab", "a"],
    });
    expect(response.status).toBe(200);
    expect(await json(response)).toEqual({
      object: "list",
      model: "icdpo",
      chosen: 0,
      data: [
        { index: 0, tokens: 3, positive: -12, negative: -16, base: -13, s: 1, s_hat: 4 },
        { index: 1, tokens: 2, positive: -11, negative: -15, base: -12, s: 1, s_hat: 4 },
      ],
    });
  });

  it("scores given demonstrations against their near negatives, where the policy's score asks for them", async () => {
    const near = "demonstrations: set\nretriever: { type: bm25 }\nscore: { type: contrast, negative: near }\n";
    const sum = (context: string, response: string) =>
      (context.includes("Good.") ? -1 : context.includes("Well.") ? -4 : -2) - response.length;
    const { post } = await gateway({ sum }, {}, { near });
    const messages = [{ role: "user", content: "Hi" }];
    const given = [{ messages, chosen: "Good.", rejected: "Bad.", near: ["Well."] }];
    const body = { messages, completions: ["a"], demonstrations: given };
    expect((await json(await post("/v1/score", { ...body, model: "near" }))).data[0]).toMatchObject({ s_hat: 3 });
    expect((await json(await post("/v1/score", { ...body, model: "icdpo" }))).data[0]).toMatchObject({ s_hat: 1 });
    const empty = { ...body, model: "near", demonstrations: [{ ...given[0], near: [] }] };
    expect((await json(await post("/v1/score", empty))).error.param).toMatch(/^demonstrations\.0\.near/u);
  });

  it("scores without a rejected response, and without any demonstration or instruction", async () => {
    const { post } = await gateway({
      sum: (context, response) => (context.includes("Good.") ? -1 : -2) - response.length,
    });
    const messages = [{ role: "user", content: "Hi" }];
    const given = [{ messages: [{ role: "user", content: "Hello?" }], chosen: "Good." }];
    const unpaired = await json(
      await post("/v1/score", { model: "icdpo", messages, completions: ["a", "b"], demonstrations: given }),
    );
    expect(unpaired.data[0]).toEqual({
      index: 0,
      tokens: 2,
      positive: -2,
      negative: null,
      base: -3,
      s: 1,
      s_hat: null,
    });
    const plain = await json(await post("/v1/score", { model: "plain", messages, completions: ["a"] }));
    expect(plain).toMatchObject({
      chosen: null,
      data: [{ positive: null, negative: null, base: -3, s: null, s_hat: null }],
    });
  });

  it("refuses to score nothing", async () => {
    const { post } = await gateway();
    const response = await post("/v1/score", {
      model: "icdpo",
      messages: [{ role: "user", content: "Hi" }],
      completions: [],
    });
    expect(response.status).toBe(400);
    expect((await json(response)).error.param).toBe("completions");
  });
});
