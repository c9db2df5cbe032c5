import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { RunningEngine, SampleEvent, SampleRequest } from "../../../../src/engine/engine.ts";
import type { RemoteSettings } from "../../../../src/engine/engines.ts";
import { onlyEngine } from "../../../../src/engine/engines.ts";
import { openOpenAi } from "../../../../src/engine/openai/index.ts";
import { counted, noUsage } from "../../../../src/icdpo/token-usage.ts";
import { buildPolicySet } from "../../../../src/policy/build.ts";
import { gateway, readStream } from "../../scripted-gateway.ts";

interface Call {
  readonly path: string;
  readonly body: Record<string, unknown>;
  readonly authorization: string | undefined;
}
type Answer = (call: Call, response: ServerResponse) => void;

const request: SampleRequest = {
  temperature: 1,
  topP: 1,
  topK: 0,
  maxTokens: 16,
  stop: [],
  seeds: [7],
  logprobs: false,
};
const whole: SampleRequest = { ...request, whole: true };
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.closeAllConnections();
});

/** A service on this machine, the engine that calls it, and what it was asked. */
async function service(
  answer: Answer,
  settings: Partial<RemoteSettings> = {},
): Promise<{ engine: RunningEngine; calls: Call[] }> {
  const calls: Call[] = [];
  const server = createServer((incoming: IncomingMessage, response) => {
    let text = "";
    incoming.on("data", (piece: Buffer) => {
      text += piece.toString();
    });
    incoming.on("end", () => {
      const { url = "", headers } = incoming;
      const call = {
        path: url,
        body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>),
        authorization: headers.authorization,
      };
      calls.push(call);
      answer(call, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  servers.push(server);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const world = { fetch, now: () => performance.now(), log: () => {} };
  return {
    engine: openOpenAi({ urls: [url], model: "gpt-x", timeoutMs: 60_000, retries: 0, ...settings }, world),
    calls,
  };
}

const json =
  (body: unknown, status = 200, headers: Record<string, string> = {}): Answer =>
  (_, response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
  };
const stream =
  (...events: readonly unknown[]): Answer =>
  (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const event of events) response.write(`data: ${JSON.stringify(event)}\n\n`);
    response.end("data: [DONE]\n\n");
  };
/** A stream as it is written. */
const raw =
  (text: string): Answer =>
  (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" }).end(text);
  };
const message = (content: string | null, index = 0, finish_reason = "stop") => ({
  index,
  message: { role: "assistant", content },
  finish_reason,
});
const delta = (content: string, index = 0, finish_reason: string | null = null) => ({
  choices: [{ index, delta: { content }, finish_reason }],
});

async function events(engine: RunningEngine, overrides: SampleRequest, signal?: AbortSignal): Promise<SampleEvent[]> {
  const prompt = await engine.chatPrompt([
    { role: "system", content: "Be brief." },
    { role: "user", content: "Hi" },
  ]);
  const all: SampleEvent[] = [];
  for await (const event of engine.sample(prompt, overrides, signal)) all.push(event);
  return all;
}
const samplesOf = (all: readonly SampleEvent[]) =>
  all.flatMap((event) => (event.type === "done" ? [event.sample] : []));

describe("an answer that nobody reads before its end", () => {
  it("is fetched by one plain call, with OpenAI's defaults left unsaid", async () => {
    const { engine, calls } = await service(
      json({ choices: [message("Hello")], usage: { prompt_tokens: 9, completion_tokens: 3 } }),
      {
        apiKey: "k",
      },
    );
    const [sample] = samplesOf(await events(engine, whole));
    expect(sample).toMatchObject({ text: "Hello", finish: "stop", logprobs: [], endLogprobs: [] });
    expect(sample?.tokens).toHaveLength(3);
    const messages = [
      { role: "system", content: "Be brief." },
      { role: "user", content: "Hi" },
    ];
    expect(calls).toEqual([
      {
        path: "/v1/chat/completions",
        body: { model: "gpt-x", messages, max_tokens: 16, seed: 3 },
        authorization: "Bearer k",
      },
    ]);
  });

  it("comes n times by one call, and an answer that is missing is an error", async () => {
    const { engine, calls } = await service(json({ choices: [message("b", 1, "length"), message("a")] }));
    const request = { ...whole, seeds: [1, 2] };
    expect(samplesOf(await events(engine, request)).map(({ text, finish }) => [text, finish])).toEqual([
      ["a", "stop"],
      ["b", "length"],
    ]);
    expect(calls[0]?.body).toMatchObject({ n: 2 });
    await expect(events(engine, { ...whole, seeds: [1, 2, 3] })).rejects.toMatchObject({ code: "engine_failure" });
  });

  it("is as long as the service makes it, where only the context bounds it", async () => {
    const { engine, calls } = await service(json({ choices: [message("a")] }), { contextSize: 1_000 });
    await events(engine, { ...whole, maxTokens: 1_000 });
    expect(calls[0]?.body).not.toHaveProperty("max_tokens");
  });

  it("is asked for what the service takes beside OpenAI's fields, and no more", async () => {
    const takes = ["top_k", "min_p", "repeat_penalty", "min_tokens", "ignore_eos", "chat_template_kwargs"];
    const { engine, calls } = await service(json({ choices: [message("a")] }), { takes });
    expect((await engine.info()).capabilities.lacks).toEqual({ repetitionWindow: expect.stringContaining("takes") });
    const prompt = await engine.chatPrompt([{ role: "user", content: "Hi" }], undefined, [], {
      enable_thinking: false,
    });
    const asked = { ...whole, topK: 7, minP: 0.1, repetitionPenalty: 1.1, minTokens: 2, ignoreEos: true };
    for await (const _ of engine.sample(prompt, asked));
    expect(calls[0]?.body).toMatchObject({
      top_k: 7,
      min_p: 0.1,
      repeat_penalty: 1.1,
      min_tokens: 2,
      ignore_eos: true,
      chat_template_kwargs: { enable_thinking: false },
    });
    expect(calls[0]?.body).not.toHaveProperty("repetition_penalty");
    const { engine: bare } = await service(json({ choices: [message("a")] }));
    expect(Object.keys((await bare.info()).capabilities.lacks ?? {})).toHaveLength(7);
  });

  it("says what is asked for otherwise, and leaves top_k out", async () => {
    const { engine, calls } = await service(json({ choices: [message(null)] }));
    const asked = {
      temperature: 0.5,
      topP: 0.9,
      topK: 40,
      stop: ["x"],
      presencePenalty: 1,
      frequencyPenalty: -1,
      logitBias: new Map([[5, -100]]),
    };
    const [sample] = samplesOf(await events(engine, { ...whole, ...asked }));
    expect(sample).toMatchObject({ text: "", tokens: [] });
    const { model: _, messages: __, ...body } = calls[0]?.body ?? {};
    expect(body).toEqual({
      max_tokens: 16,
      seed: 3,
      temperature: 0.5,
      top_p: 0.9,
      stop: ["x"],
      presence_penalty: 1,
      frequency_penalty: -1,
      logit_bias: { 5: -100 },
    });
  });
});

describe("usage", () => {
  const usage = { prompt_tokens: 123, completion_tokens: 45, total_tokens: 168 };
  const policies = new Map([["plain", "candidates: 1\nscore: { type: none }\n"]]);

  async function chat(answer: Answer, body: object = {}) {
    const { engine } = await service(answer);
    const files = { policies, routes: "routes: { plain: { policy: plain } }", demonstrations: new Map() };
    const set = await buildPolicySet(files, {
      engines: onlyEngine(engine),
      embedder: () => Promise.reject(new Error("not needed")),
    });
    const { chat } = await gateway({}, { policies: () => set });
    return chat({ model: "plain", ...body });
  }

  it("is what the service counts, whole and streamed", async () => {
    const answered = await chat(json({ choices: [message("Hello")], usage }));
    expect(answered.headers.get("x-icdpo-tokens")).toContain("prompt=123");
    expect((await answered.json()) as object).toMatchObject({ usage });
    const streamed = await chat(stream(delta("Hel"), delta("lo", 0, "stop"), { choices: [], usage }), {
      stream: true,
      stream_options: { include_usage: true },
    });
    expect((await readStream(streamed)).chunks.at(-1)).toMatchObject({ choices: [], usage });
  });

  it("is estimated where the service does not count, or counts several answers together", async () => {
    const [prompt, completion] = [14, 2];
    const silent = (await (await chat(json({ choices: [message("Hello")] }))).json()) as object;
    expect(silent).toMatchObject({ usage: { prompt_tokens: prompt, completion_tokens: completion } });
    const several = await chat(json({ choices: [message("Hello"), message("Hallo", 1)], usage }), { n: 2 });
    expect((await several.json()) as object).toMatchObject({
      usage: { prompt_tokens: 123, completion_tokens: 2 * completion },
    });
  });
});

describe("a stream", () => {
  it("is passed on as it comes, and counted by the service", async () => {
    const { engine, calls } = await service(
      stream(delta("Hel"), delta("lo", 0, "stop"), { choices: [], usage: { completion_tokens: 2 } }),
    );
    const all = await events(engine, request);
    expect(all.slice(0, -1)).toEqual([
      { type: "prefill", fed: 0 },
      { type: "prompt", cached: 0 },
      { type: "text", index: 0, text: "Hel", tokens: 1 },
      { type: "text", index: 0, text: "lo", tokens: 1 },
    ]);
    expect(samplesOf(all)[0]?.tokens).toHaveLength(2);
    expect(calls[0]?.body).toMatchObject({ stream: true, stream_options: { include_usage: true } });
  });

  it("that the service refuses has counted nothing; one that breaks off, what it gave", async () => {
    const work = noUsage();
    const asked = async (answer: Answer): Promise<void> => {
      const { engine } = await service(answer);
      const prompt = await engine.chatPrompt([{ role: "user", content: "Hello" }]);
      for await (const _ of counted(engine.sample(prompt, request), prompt.tokens.length, work));
    };
    await expect(asked(json({ error: { message: "No such model." } }, 404))).rejects.toMatchObject({
      code: "engine_failure",
    });
    expect(work).toEqual(noUsage());
    await expect(asked(raw(`data: ${JSON.stringify(delta("Hello wor"))}\n\n`))).rejects.toMatchObject({
      code: "engine_unavailable",
    });
    expect(work).toEqual({ prompt: 10, cached: 0, sampled: 3, scored: 0 });
  });

  it("gives details of tokens where the service does, half characters too", async () => {
    const token = (text: string, bytes: number[], logprob: number) => ({
      token: text,
      bytes,
      logprob,
      top_logprobs: [{ token: text, bytes, logprob }],
    });
    const first = { index: 0, delta: { content: "" }, logprobs: { content: [token("\\xf0\\x9f", [0xf0, 0x9f], -1)] } };
    const second = {
      index: 0,
      delta: { content: "😊!" },
      logprobs: { content: [token("", [0x98, 0x8a], -2), token("!", [33], -3)] },
      finish_reason: "stop",
    };
    const { engine } = await service(stream({ choices: [first] }, { choices: [second] }));
    const [sample] = samplesOf(await events(engine, { ...request, topLogprobs: 1 }));
    expect(sample?.details?.map(({ offset, bytes, logprob, top }) => [offset, bytes, logprob, top.length])).toEqual([
      [0, [0xf0, 0x9f], -1, 1],
      [0, [0x98, 0x8a], -2, 1],
      [2, [33], -3, 1],
    ]);
    const { engine: silent } = await service(stream(delta("Hi", 0, "stop")));
    await expect(events(silent, { ...request, topLogprobs: 1 })).rejects.toMatchObject({
      code: "unsupported_parameter",
      param: "logprobs",
    });
  });

  it("that breaks off is an error; one that is left is closed", async () => {
    const { engine } = await service((_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(`data: ${JSON.stringify(delta("Hel"))}\n\n`);
    });
    await expect(events(engine, request)).rejects.toMatchObject({ code: "engine_unavailable" });
    let closed = (): void => {};
    const left = new Promise<void>((resolve) => {
      closed = resolve;
    });
    const { engine: endless } = await service((_, response) => {
      response.on("close", closed);
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(`data: ${JSON.stringify(delta("Hel"))}\n\n`);
    });
    const prompt = await endless.chatPrompt([{ role: "user", content: "Hi" }]);
    for await (const event of endless.sample(prompt, request)) if (event.type === "text") break;
    await left;
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 50);
    await expect(events(endless, request, abort.signal)).rejects.toMatchObject({ code: "cancelled" });
  });
});

describe("a service that is less than exact", () => {
  const data = (event: unknown, end = "\n\n"): string =>
    `data: ${typeof event === "string" ? event : JSON.stringify(event)}${end}`;
  const said = (content: unknown, more = {}) => ({ choices: [{ delta: { content }, ...more }] });
  const counts = (completion: number) => ({ usage: { prompt_tokens: 3, completion_tokens: completion } });
  const ended = { finish_reason: "stop" };

  it.each([
    ["no index", [said("Hel"), said("lo", ended), "[DONE]"]],
    ["no finish reason, but an end", [said("Hel"), said("lo"), "[DONE]"]],
    ["a finish reason, but no end", [said("Hel"), said("lo", ended)]],
    ["no delta, and null for one", [{ choices: [{ delta: null }] }, { choices: [{}] }, said("Hello", ended), "[DONE]"]],
    ["no choices, and null for them", [{ choices: [] }, { choices: null, ...counts(1) }, said("Hello", ended)]],
    [
      "usage first, last and in between",
      [counts(1), said("Hel"), { choices: [], ...counts(2) }, said("lo", ended), counts(2)],
    ],
    ["usage that is none", [{ ...said("Hello", ended), usage: { completion_tokens: "many" } }, "[DONE]"]],
    [
      "thoughts beside the answer",
      [{ choices: [{ delta: { reasoning_content: "Hm.", content: null } }] }, said("Hello", ended)],
    ],
    [
      "content in parts",
      [
        said([
          { type: "text", text: "Hel" },
          { type: "thinking", thinking: [] },
        ]),
        said([{ type: "text", text: "lo" }], ended),
      ],
    ],
    ["an empty content beside a refusal", [{ choices: [{ delta: { content: "", refusal: "Hello" }, ...ended }] }]],
    ["a whole message at the end", [{ choices: [{ message: { content: "Hello" }, ...ended }] }, " [DONE] "]],
    ["empty events", ["", said("Hello", ended), "", "[DONE]"]],
  ])("streams an answer with %s", async (_, sent) => {
    const { engine } = await service(raw(sent.map((event) => data(event)).join("")));
    const all = await events(engine, request);
    expect(samplesOf(all)).toMatchObject([{ text: "Hello", finish: "stop" }]);
    expect(all.flatMap((event) => (event.type === "text" ? [event.text] : [])).join("")).toBe("Hello");
  });

  it("may break lines as it likes, comment, and leave out the last empty line", async () => {
    const written = [
      ": waiting\r\n\r\n",
      data(said("Hel"), "\r\n\r\n"),
      ":\r\n",
      data(said("lo"), "\r\n\r\n"),
      "data: [DONE]",
    ];
    for (const text of [written.join(""), written.join("").replaceAll("\r\n", "\r")]) {
      const { engine } = await service(raw(text));
      expect(samplesOf(await events(engine, request))).toMatchObject([{ text: "Hello", finish: "stop" }]);
    }
  });

  it("ends by its length where it counts as many tokens as it may give, and says nothing else", async () => {
    const { engine } = await service(
      raw([data(said("Hello")), data({ choices: [], ...counts(16) }), data("[DONE]")].join("")),
    );
    expect(samplesOf(await events(engine, request))[0]?.finish).toBe("length");
    const { engine: silent } = await service(json({ choices: [{ message: { content: "Hello" } }], ...counts(16) }));
    expect(samplesOf(await events(silent, whole))[0]?.finish).toBe("length");
  });

  it.each([
    ["no index and no finish reason", { message: { content: "Hello" } }],
    ["thoughts", { index: 0, message: { content: "Hello", reasoning_content: "Hm." }, ...ended }],
    ["parts", { index: 0, message: { content: [{ type: "text", text: "Hello" }] }, ...ended }],
  ])("answers as a whole with %s", async (_, choice) => {
    const { engine } = await service(json({ choices: [choice] }));
    expect(samplesOf(await events(engine, whole))).toMatchObject([{ text: "Hello", finish: "stop" }]);
  });

  it.each([
    ["an error", [said("Hel"), { error: { message: "overheated", code: 500 } }, "[DONE]"], "engine_unavailable"],
    ["an error in one word", [said("Hel"), { error: "overheated" }], "engine_unavailable"],
    [
      "an error as an object of its own",
      [said("Hel"), { object: "error", message: "overheated" }, "[DONE]"],
      "engine_failure",
    ],
    ["words that are no answer", [said("Hel"), { message: "overheated" }, "[DONE]"], "engine_failure"],
    ["a choice's error", [said("Hel"), said("", { error: { message: "overheated" } }), "[DONE]"], "engine_failure"],
    [
      "an error for a finish reason",
      [said("Hel"), said("", { finish_reason: "error" }), "[DONE]"],
      "engine_unavailable",
    ],
    ["neither an end nor a reason", [said("Hel"), counts(1)], "engine_unavailable"],
    ["half an event", [said("Hel"), '{"choices":[{"delta":{"con'], "engine_unavailable"],
    ["nothing at all", ["[DONE]"], "engine_failure"],
  ])("is never taken for one whose answer ended, with %s", async (_, sent, code) => {
    const text = sent.map((event) => data(event)).join("");
    const { engine } = await service(
      raw(code === "engine_unavailable" && text.endsWith("con\n\n") ? text.trimEnd() : text),
    );
    await expect(events(engine, request)).rejects.toMatchObject({ code });
  });

  it.each([false, true])(
    "is asked with max_completion_tokens where it refuses max_tokens, from then on (whole %s)",
    async (isWhole) => {
      const { engine, calls } = await service((call, response) => {
        const refusal =
          "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        if ("max_tokens" in call.body)
          json({ error: { message: refusal, code: "unsupported_parameter" } }, 400)(call, response);
        else if (call.body["stream"]) stream(delta("Hello", 0, "stop"))(call, response);
        else json({ choices: [message("Hello")] })(call, response);
      });
      for (let i = 0; i < 2; i++)
        expect(samplesOf(await events(engine, isWhole ? whole : request))[0]?.text).toBe("Hello");
      expect(calls.map(({ body }) => [body["max_tokens"], body["max_completion_tokens"]])).toEqual([
        [16, undefined],
        [undefined, 16],
        [undefined, 16],
      ]);
    },
  );

  it("is asked to count no more where it refuses that, and once only", async () => {
    const { engine, calls } = await service((call, response) => {
      if ("stream_options" in call.body)
        json({ error: { message: "Unknown field stream_options" } }, 400)(call, response);
      else stream(delta("Hello", 0, "stop"))(call, response);
    });
    expect(samplesOf(await events(engine, request))[0]?.text).toBe("Hello");
    expect(calls).toHaveLength(2);
    const { engine: stubborn, calls: asked } = await service(
      json({ error: { message: "max_completion_tokens is too large" } }, 400),
    );
    await expect(events(stubborn, whole)).rejects.toMatchObject({ code: "invalid_request" });
    expect(asked).toHaveLength(2);
  });
});

describe("what the service refuses", () => {
  it("is told to whom it concerns, without the key", async () => {
    const refusal = (status: number, headers: Record<string, string> = {}) =>
      service(json({ error: { message: "no: sk-secret" } }, status, headers), { apiKey: "sk-secret" });
    for (const [status, code] of [
      [401, "engine_failure"],
      [404, "engine_failure"],
      [400, "invalid_request"],
      [500, "engine_unavailable"],
    ] as const) {
      const failed = events((await refusal(status)).engine, whole);
      await expect(failed).rejects.toMatchObject({ code });
      await expect(failed).rejects.not.toThrow("sk-secret");
    }
    await expect(events((await refusal(429, { "retry-after": "60" })).engine, whole)).rejects.toMatchObject({
      code: "overloaded",
      retryAfter: 60,
    });
  });
});

describe("a service that thinks", () => {
  const usage = {
    prompt_tokens: 9,
    completion_tokens: 20,
    completion_tokens_details: { reasoning_tokens: 15 },
  };
  const says = (...deltas: readonly object[]) =>
    deltas.map((delta, i) => ({
      choices: [{ index: 0, delta, finish_reason: i === deltas.length - 1 ? "stop" : null }],
    }));
  const toldBy = (all: readonly SampleEvent[], type: "thought" | "text") =>
    all.flatMap((event) => (event.type === type ? [event.text] : [])).join("");

  it.each([
    ["by its usual name", { reasoning_content: "Two and two…", content: "Four." }],
    ["by its other name", { reasoning: "Two and two…", content: "Four." }],
    ["by both", { reasoning: "Two and two…", reasoning_content: "Two and two…", content: "Four." }],
    [
      "in a part",
      {
        content: [
          { type: "thinking", thinking: "Two and two…" },
          { type: "text", text: "Four." },
        ],
      },
    ],
    [
      "in parts of a part",
      {
        content: [
          { type: "thinking", thinking: [{ type: "text", text: "Two and two…" }] },
          { type: "text", text: "Four." },
        ],
      },
    ],
    ["in its content", { content: "<think>\nTwo and two…\n</think>\n\nFour." }],
    ["in its content, otherwise", { content: " [THINK]Two and two…[/THINK]Four." }],
  ])("tells it apart from its answer, %s, whole and streamed", async (_, said) => {
    const answered = await service(json({ choices: [{ message: said, finish_reason: "stop" }], usage }));
    const all = await events(answered.engine, whole);
    expect(samplesOf(all)[0]).toMatchObject({ text: "Four.", thought: { tokens: 15 }, counted: { completion: 20 } });
    expect([toldBy(all, "thought").trim(), toldBy(all, "text")]).toEqual(["Two and two…", "Four."]);
    const streamed = await service(stream(...says(said), { choices: [], usage }));
    expect(samplesOf(await events(streamed.engine, request))[0]?.thought?.text.trim()).toBe("Two and two…");
  });

  it.each([
    ["<think>Hm.</think>\n\nFour.", "Hm.", "Four."],
    ["<think>1 </ 2 </thin 3</think>Four </think> <think>.", "1 </ 2 </thin 3", "Four </think> <think>."],
    ["<think>Hm. </thin", "Hm. </thin", ""],
    ["<thinker>Rodin", "", "<thinker>Rodin"],
    ["<thin", "", "<thin"],
    ["\n <b>Four.", "", "\n <b>Four."],
    ["Four <think>.", "", "Four <think>."],
  ])("leaves its thought in the content, which comes by the character: %j", async (content, thought, text) => {
    const { engine } = await service(stream(...says(...Array.from(content, (piece) => ({ content: piece })))));
    const all = await events(engine, request);
    expect([toldBy(all, "thought"), toldBy(all, "text")]).toEqual([thought, text]);
    expect(samplesOf(all)[0]).toMatchObject({ text, ...(thought !== "" && { thought: { text: thought } }) });
  });

  it("has no thought where what it calls one is no text", async () => {
    const { engine } = await service(
      json({ choices: [{ message: { content: "Four.", reasoning: { effort: "low" } }, finish_reason: "stop" }] }),
    );
    expect(samplesOf(await events(engine, whole))[0]).not.toHaveProperty("thought");
  });

  it("gives log-probabilities of its content only, from the content's beginning", async () => {
    const pieces = ["<think>", "Hm.", "</think>", "\n\n", "Fo", "ur."];
    const entries = pieces.map((token) => ({ token, logprob: -1, bytes: null }));
    const { engine } = await service(
      stream(
        ...pieces.map((piece, i) => ({
          choices: [{ index: 0, delta: { content: piece }, logprobs: { content: [entries[i]] }, finish_reason: null }],
        })),
        ...says({}),
      ),
    );
    const [sample] = samplesOf(await events(engine, { ...request, topLogprobs: 0 }));
    expect(sample?.details?.map(({ text, offset }) => [text, offset])).toEqual([
      ["Fo", 0],
      ["ur.", 2],
    ]);
  });

  it.each([
    ["counted", usage, { completion_tokens: 20, completion_tokens_details: { reasoning_tokens: 15 } }],
    ["estimated", undefined, { completion_tokens: 2 + 3, completion_tokens_details: { reasoning_tokens: 3 } }],
  ])("is answered for in the protocol's words, its tokens %s", async (_, counts, expected) => {
    const said = { content: "Four.", reasoning_content: " I wonder.\n" };
    const { engine } = await service(({ body }, response) =>
      (body["stream"]
        ? stream(...says({ reasoning_content: " I won" }, { reasoning_content: "der.\n" }, { content: "Four." }), {
            choices: [],
            usage: counts,
          })
        : json({ choices: [{ message: said, finish_reason: "stop" }], usage: counts }))({} as Call, response),
    );
    const files = {
      policies: new Map([["plain", "candidates: 1\nscore: { type: none }\n"]]),
      routes: "routes: { plain: { policy: plain } }",
      demonstrations: new Map(),
    };
    const set = await buildPolicySet(files, {
      engines: onlyEngine(engine),
      embedder: () => Promise.reject(new Error("not needed")),
    });
    const { chat } = await gateway({}, { policies: () => set });
    const answered = (await (await chat({ model: "plain" })).json()) as {
      choices: { message: object }[];
      usage: object;
    };
    expect(answered.choices[0]?.message).toMatchObject({ content: "Four.", reasoning_content: "I wonder." });
    expect(answered.usage).toMatchObject(expected);
    const options = { model: "plain", stream: true, stream_options: { include_usage: true } };
    const { chunks } = await readStream(await chat(options));
    const deltas = chunks.flatMap(({ choices }) => choices.map(({ delta }: { delta: object }) => delta));
    expect(deltas.map((delta) => delta.reasoning_content ?? "").join("")).toBe("I wonder.");
    expect(deltas.map((delta) => delta.content ?? "").join("")).toBe("Four.");
    expect(chunks.at(-1).usage).toMatchObject(expected);
  });
});

describe("what such a service cannot do", () => {
  it("is declared, and refused where it is asked for", async () => {
    const { engine, calls } = await service(json({}));
    expect((await engine.info()).capabilities).toMatchObject({
      chat: true,
      text: false,
      score: false,
      grammar: false,
      tools: null,
    });
    await expect(events(engine, { ...whole, grammar: 'root ::= "a"' })).rejects.toMatchObject({
      code: "unsupported_parameter",
    });
    await expect(engine.textPrompt("a")).rejects.toMatchObject({ code: "unsupported_parameter" });
    await expect(engine.detokenize([1])).rejects.toMatchObject({ code: "unsupported_parameter" });
    expect(() => engine.score({ tokens: [1], end: 2 }, [[1, 2]])).toThrow("cannot score");
    expect(calls).toEqual([]);
    const world = { fetch, now: () => 0, log: () => {} };
    expect(() => openOpenAi({ urls: ["http://127.0.0.1:1"], timeoutMs: 1, retries: 0 }, world)).toThrow(
      "needs a model",
    );
  });

  it("is no reason not to count: about four bytes a token", async () => {
    const { engine } = await service(json({}));
    const text = "Place the pot on a sunny sill – 今天天气很好 😊";
    const [tokens] = await engine.tokenize([text]);
    expect(tokens).toHaveLength(Math.ceil(new TextEncoder().encode(text).length / 4));
    expect((await engine.chatPrompt([{ role: "user", content: text }])).tokens.length).toBeGreaterThan(
      tokens?.length ?? 0,
    );
  });

  it("says whether the service can be reached", async () => {
    expect(await (await service(json({ data: [] }))).engine.state()).toMatchObject({ status: "ready" });
    expect(await (await service(json({}, 401))).engine.state()).toMatchObject({ status: "unreachable" });
  });
});
