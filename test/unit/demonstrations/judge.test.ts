import type { ServerResponse } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { judgePair, verdictForm, verdictOf } from "../../../src/demonstrations/judge.ts";
import { teach } from "../../../src/demonstrations/teach.ts";
import { openTeacher } from "../../../src/demonstrations/teacher.ts";
import { type Handler, type StubServer, sendJson, stubServer } from "../stub-server.ts";

const servers: StubServer[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.kill();
});

async function endpoint(handler: Handler, temperature?: number) {
  const server = await stubServer(handler);
  servers.push(server);
  const said: string[] = [];
  const report = (line: string): void => void said.push(line);
  const options = {
    baseURL: `${server.url}/v1`,
    apiKey: "none",
    model: "m",
    maxTokens: 32,
    temperature,
    retries: 0,
    report,
  };
  return { server, teacher: openTeacher(options), said };
}

function reply(response: ServerResponse, content: string | readonly object[]): void {
  const choices = [{ index: 0, finish_reason: "stop", message: { role: "assistant", content } }];
  sendJson(response, {
    id: "1",
    object: "chat.completion",
    choices,
    usage: { prompt_tokens: 9, completion_tokens: 3 },
  });
}

describe("a verdict", () => {
  it.each([
    ["VERDICT: A", 1],
    ["VERDICT: B", 0],
    ["VERDICT: TIE", 0.5],
    ["  VERDICT: B \n\n", 0],
    ["Both are fine, but A is longer.\nVERDICT: B", 0],
    ["<think>\nVERDICT: A?\n</think>\r\nVERDICT: TIE\r\n", 0.5],
    ["VERDICT: A\nOn reflection:\nVERDICT: B", 0],
    ['{"verdict": "A"}', 1],
    ['{\n  "verdict": "TIE"\n}\n', 0.5],
    ['```json\n{"verdict": "B"}\n```', 0],
    ["Answer B is better than Answer A", null],
    ["Answer B is better than Answer A.\nVERDICT: B", 0],
    ["A good question", null],
    ["A", null],
    ["B.", null],
    ["Tie", null],
    ["TIE", null],
    ["verdict: a", null],
    ["VERDICT: a", null],
    ["VERDICT: Tie", null],
    ["VERDICT:A", null],
    ["VERDICT: A.", null],
    ["**VERDICT: A**", null],
    ["VERDICT: A or B", null],
    ["VERDICT: A|B|TIE", null],
    ["My VERDICT: A", null],
    ["VERDICT: A\nbecause B is rude", null],
    ['{"verdict": "C"}', null],
    ['{"verdict": "A", "why": "B is rude"}', null],
    ['"A"', null],
    ['["A"]', null],
    ['{"verdict": "A"', null],
    ['I say {"verdict": "A"}', null],
    ["", null],
  ])("is read off its exact form alone: %j → %j", (text, value) => {
    expect(verdictOf({ text, finish: "stop" })).toBe(value);
  });

  it("is not read off a line that may have been cut short; whole JSON is whole", () => {
    expect(verdictOf({ text: "VERDICT: A", finish: "length" })).toBeNull();
    expect(verdictOf({ text: '{"verdict":"A"}', finish: "length" })).toBe(1);
    expect(verdictOf({ text: "", finish: "refused" })).toBeNull();
  });
});

describe("two verdicts", () => {
  it.each([
    ["VERDICT: A", "VERDICT: B", 1],
    ["VERDICT: B", "VERDICT: A", 0],
    ["VERDICT: A", "VERDICT: A", 0.5],
    ["VERDICT: TIE", "VERDICT: TIE", 0.5],
    ["VERDICT: A", "VERDICT: TIE", 0.5],
    ["VERDICT: A", "no idea", null],
    ["no idea", "VERDICT: B", null],
    ["no idea", "no idea", null],
  ])("%j and %j → %j, both asked for", async (forward, backward, value) => {
    const texts = [forward, backward];
    const { server, teacher } = await endpoint((_, response) => reply(response, texts.shift() ?? ""));
    expect(await judgePair(teacher, [{ role: "user", content: "Why?" }], "one", "two", "key")).toBe(value);
    const questions = server.requests.map(({ body }) => body.messages[1].content as string);
    expect(questions.map((question) => /# Answer A\n\n(.*)\n\n# Answer B\n\n(.*)\n/u.exec(question)?.slice(1))).toEqual(
      [
        ["one", "two"],
        ["two", "one"],
      ],
    );
  });
});

describe("a model that thinks", () => {
  const messages = [{ role: "user" as const, content: "A or B?" }];

  it.each([
    ['<think>\nVERDICT: A?\n</think>\n\n{"verdict": "B"}', '{"verdict": "B"}'],
    ["A is rude.\n</think>\n\nVERDICT: B\n", "VERDICT: B"],
    [
      [
        { type: "thinking", thinking: [{ type: "text", text: "A?" }] },
        { type: "text", text: "VERDICT: B" },
      ],
      "VERDICT: B",
    ],
    ["<think>\nVERDICT: A", ""],
  ])("answers without its thought: %j → %j", async (content, text) => {
    const { teacher } = await endpoint((_, response) => reply(response, content));
    const answer = await teacher.ask(messages, "k");
    expect(answer.text).toBe(text);
    expect(verdictOf(answer)).toBe(text === "" ? null : 0);
  });

  it("is judged by its answers alone", async () => {
    const { server, teacher } = await endpoint((_, response) => reply(response, "VERDICT: TIE"));
    await judgePair(teacher, [{ role: "user", content: "Why?" }], "<think>\nHm.\n</think>\n\none", "two", "key");
    const questions = server.requests.map(({ body }) => body.messages[1].content as string);
    expect(questions).toEqual([
      expect.stringContaining("# Answer A\n\none\n\n# Answer B\n\ntwo\n\n"),
      expect.stringContaining("# Answer A\n\ntwo\n\n# Answer B\n\none\n\n"),
    ]);
  });
});

describe("an answer of a given form", () => {
  const messages = [{ role: "user" as const, content: "A or B?" }];

  it("is asked for by its JSON schema", async () => {
    const { server, teacher } = await endpoint((_, response) => reply(response, '{"verdict":"B"}'));
    expect(await teacher.ask(messages, "k", undefined, verdictForm)).toMatchObject({
      text: '{"verdict":"B"}',
      finish: "stop",
    });
    expect(server.requests[0]?.body.response_format).toMatchObject({
      type: "json_schema",
      json_schema: { strict: true, schema: { properties: { verdict: { enum: ["A", "B", "TIE"] } } } },
    });
    await teacher.ask(messages, "k");
    expect(server.requests[1]?.body).not.toHaveProperty("response_format");
  });

  it.each([
    [
      "as OpenAI refuses",
      { error: { message: "Invalid parameter", type: "invalid_request_error", param: "response_format" } },
      400,
    ],
    ["by name only", { error: { message: "This response_format type is unavailable now" } }, 400],
    [
      "as pydantic refuses",
      { detail: [{ loc: ["body", "response_format"], msg: "Extra inputs are not permitted" }] },
      422,
    ],
    ["in a sentence", "response_format is unknown here", 400],
  ])("is asked for in words where its schema is refused, %s, and from then on", async (_, refusal, status) => {
    const { server, teacher } = await endpoint(({ body }, response) => {
      if (body.response_format === undefined) return reply(response, "VERDICT: A");
      if (typeof refusal === "string") response.writeHead(status, { "content-type": "text/plain" }).end(refusal);
      else sendJson(response, refusal, status);
    });
    expect((await teacher.ask(messages, "k", undefined, verdictForm)).text).toBe("VERDICT: A");
    expect((await teacher.ask(messages, "k", undefined, verdictForm)).text).toBe("VERDICT: A");
    expect(server.requests.map(({ body }) => body.response_format !== undefined)).toEqual([true, false, false]);
    const keys = server.requests.map(({ headers }) => headers["idempotency-key"]);
    expect(new Set(keys.slice(0, 2)).size).toBe(2);
  });
});

describe("an endpoint that does not answer", () => {
  const messages = [{ role: "user" as const, content: "Why?" }];

  it.each([
    [
      "Azure's filter",
      400,
      { error: { message: "filtered", code: "content_filter", innererror: { code: "ResponsibleAIPolicyViolation" } } },
    ],
    [
      "what passes Azure's on",
      400,
      { error: { code: "400", provider_specific_fields: { innererror: { code: "ResponsibleAIPolicyViolation" } } } },
    ],
    [
      "OpenAI's policy",
      400,
      { error: { message: "rejected", code: "content_policy_violation", type: "invalid_request_error" } },
    ],
    ["OpenAI's flag", 400, { error: { message: "Invalid prompt: flagged", code: "invalid_prompt" } }],
    [
      "OpenRouter's moderation",
      403,
      { error: { code: 403, message: "flagged", metadata: { reasons: ["x"], flagged_input: "Why?" } } },
    ],
    ["a filter by type", 422, { error: { message: "high risk", type: "content_filter" } }],
    ["a filter after 200", 200, { error: { message: "flagged", code: "content_filter" } }],
    ["a filtered answer", 200, { choices: [{ finish_reason: "content_filter", message: { content: "Because" } }] }],
    ["a refusal", 200, { choices: [{ finish_reason: "stop", message: { content: null, refusal: "I will not." } }] }],
  ])("refuses the prompt where it says so: %s", async (_, status, body) => {
    const { server, teacher } = await endpoint((_request, response) => sendJson(response, body, status));
    expect(await teacher.ask(messages, "k")).toMatchObject({ text: "", finish: "refused" });
    expect(server.requests).toHaveLength(1);
  });

  it.each([
    [
      "another fault",
      400,
      { error: { message: "This model's maximum context length is 8 tokens" } },
      "400 \"This model's maximum context length is 8 tokens",
    ],
    ["a model that is not there", 422, { error: { message: "no model m", code: "model_not_found" } }, "no model m"],
    ["a body too large", 413, "<h1>Request Entity Too Large</h1>", "<h1>Request Entity Too Large</h1>"],
    ["pydantic's words", 422, { detail: [{ loc: ["body", "messages"], msg: "Field required" }] }, "Field required"],
    ["old vLLM's words", 400, { object: "error", message: "top_k must be -1" }, "top_k must be -1"],
    ["a sentence", 400, { error: "model is loading" }, "model is loading"],
    ["a key that is wrong", 401, { error: { message: "Incorrect API key" } }, "Incorrect API key"],
    ["an error after 200", 200, { error: { message: "provider is down" } }, "provider is down"],
    ["no choice", 200, { id: "x", choices: [] }, 'choices\\":[]'],
    ["no JSON", 200, "<html>", "did not answer"],
    [
      "an end of no known kind",
      200,
      { choices: [{ finish_reason: "error", message: { content: "Bec" } }] },
      'ended an answer with "error"',
    ],
    [
      "a temperature out of range",
      400,
      { error: { message: "temperature must be at most 2", param: "temperature" } },
      "at most 2",
    ],
    [
      "a limit out of range",
      400,
      { error: { message: "max_tokens is too large", param: "max_tokens" } },
      "max_tokens is too large",
    ],
  ])("otherwise stops the run with its own words: %s", async (_, status, body, words) => {
    const { server, teacher } = await endpoint((_request, response) => {
      if (typeof body === "string") response.writeHead(status, { "content-type": "text/html" }).end(body);
      else sendJson(response, body, status);
    }, 7);
    await expect(teacher.ask(messages, "k")).rejects.toMatchObject({
      code: "engine_unavailable",
      message: expect.stringContaining(words),
    });
    expect(server.requests).toHaveLength(1);
  });

  it("is not read on where it answers far more than it was asked for", async () => {
    const { server, teacher } = await endpoint((_, response) => {
      const piece = "a".repeat(2 ** 16);
      const go = (): void => {
        while (!response.destroyed) if (!response.write(piece)) return void response.once("drain", go);
      };
      response.writeHead(200, { "content-type": "application/json" }).write('{"choices":[{"message":{"content":"');
      go();
    });
    await expect(teacher.ask(messages, "k")).rejects.toMatchObject({
      code: "engine_failure",
      message: expect.stringContaining("bytes"),
    });
    await expect.poll(() => server.abandoned).toHaveLength(1);
  });

  it("is asked for max_completion_tokens, and at its own temperature, where it takes no other, and from then on", async () => {
    const { server, teacher, said } = await endpoint(({ body }, response) => {
      if (body.max_tokens !== undefined) {
        const message =
          "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        return sendJson(response, { error: { message, code: "unsupported_parameter", param: "max_tokens" } }, 400);
      }
      if (body.temperature !== undefined) {
        const message =
          "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.";
        return sendJson(response, { error: { message, code: "unsupported_value", param: "temperature" } }, 400);
      }
      reply(response, "Because.");
    }, 0);
    expect((await teacher.ask(messages, "k")).text).toBe("Because.");
    expect((await teacher.ask(messages, "l")).text).toBe("Because.");
    const { body: last } = server.requests.at(-1) ?? {};
    expect(server.requests).toHaveLength(4);
    expect(last).toMatchObject({ max_completion_tokens: 32 });
    expect(Object.keys(last)).not.toEqual(expect.arrayContaining(["temperature"]));
    expect(said).toHaveLength(2);
    expect(said[0]).toContain("with max_completion_tokens");
    expect(new Set(server.requests.map(({ headers }) => headers["idempotency-key"])).size).toBe(4);
  });

  it("is asked for nothing more by those who teach; what was said is noted, and nothing empty", async () => {
    const { server, teacher } = await endpoint(({ body }, response) => {
      const [{ content }] = body.messages;
      if (content === "flagged") return sendJson(response, { error: { code: "content_filter" } }, 400);
      if (content === "silent") return reply(response, "");
      if (content === "long") return sendJson(response, { error: { message: "too long" } }, 400);
      reply(response, `Taught ${content}`);
    });
    const noted: string[] = [];
    const lessons = ["one", "flagged", "silent", "long", "two"].map((content) => ({
      id: content,
      messages: [{ role: "user" as const, content }],
    }));
    const lesson = teach(lessons, {
      teacher,
      system: undefined,
      concurrency: 1,
      known: new Map(),
      note: async ({ text }) => void noted.push(text),
      onProgress: () => {},
      stop: new AbortController().signal,
    });
    await expect(lesson).rejects.toThrow(/^long: http.* did not answer: 400 "too long"$/u);
    expect(noted).toEqual(["Taught one"]);
    expect(server.requests).toHaveLength(4);
  });
});
