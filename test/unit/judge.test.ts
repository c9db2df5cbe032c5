import type { ServerResponse } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { judgePair, verdictForm, verdictOf } from "../../src/evaluation/judge.ts";
import { openTeacher, type Teacher } from "../../src/evaluation/teacher.ts";
import { type Handler, type StubServer, sendJson, stubServer } from "./stub-server.ts";

const servers: StubServer[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.kill();
});

async function endpoint(handler: Handler): Promise<{ server: StubServer; teacher: Teacher }> {
  const server = await stubServer(handler);
  servers.push(server);
  const teacher = openTeacher({ baseURL: `${server.url}/v1`, apiKey: "none", model: "m", maxTokens: 32, retries: 0 });
  return { server, teacher };
}

function reply(response: ServerResponse, content: string): void {
  const choices = [{ index: 0, finish_reason: "stop", message: { role: "assistant", content } }];
  sendJson(response, { id: "1", object: "chat.completion", choices, usage: { prompt_tokens: 9, completion_tokens: 3 } });
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
    expect(questions.map((question) => /# Answer A\n\n(.*)\n\n# Answer B\n\n(.*)\n/u.exec(question)?.slice(1))).toEqual([
      ["one", "two"],
      ["two", "one"],
    ]);
  });
});

describe("an answer of a given form", () => {
  const messages = [{ role: "user" as const, content: "A or B?" }];

  it("is asked for by its JSON schema", async () => {
    const { server, teacher } = await endpoint((_, response) => reply(response, '{"verdict":"B"}'));
    expect(await teacher.ask(messages, "k", undefined, verdictForm)).toMatchObject({ text: '{"verdict":"B"}', finish: "stop" });
    expect(server.requests[0]?.body.response_format).toMatchObject({
      type: "json_schema",
      json_schema: { strict: true, schema: { properties: { verdict: { enum: ["A", "B", "TIE"] } } } },
    });
    await teacher.ask(messages, "k");
    expect(server.requests[1]?.body).not.toHaveProperty("response_format");
  });

  it.each([
    ["as OpenAI refuses", { error: { message: "Invalid parameter", type: "invalid_request_error", param: "response_format" } }, 400],
    ["by name only", { error: { message: "This response_format type is unavailable now" } }, 400],
    ["as pydantic refuses", { detail: [{ loc: ["body", "response_format"], msg: "Extra inputs are not permitted" }] }, 422],
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
