import { describe, expect, it } from "vitest";
import type { RunningEngine, SampleEvent, SampleRequest } from "../../../../src/engine/engine.ts";
import type { RemoteSettings } from "../../../../src/engine/engines.ts";
import { openLlamaCppPython } from "../../../../src/engine/llama-cpp-python/index.ts";

/** Control tokens; any other token is a UTF-16 code unit. */
const spellings = new Map([
  [1, "<bos>"],
  [2, "<eos>"],
]);
const [bos, end] = [1, 2];

function tokenizeText(text: string): number[] {
  for (const [token, spelling] of spellings) {
    const [before = "", ...after] = text.split(spelling);
    if (after.length > 0) return [...tokenizeText(before), token, ...tokenizeText(after.join(spelling))];
  }
  return Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
}

type Body = Record<string, unknown>;
interface Stub {
  /** Whether its tokenizer puts BOS first. */
  readonly opens?: boolean;
  readonly logitsAll?: boolean;
  readonly stream?: (body: Body) => readonly object[];
}

/** A server that answers as llama-cpp-python's (0.3.36) does, from memory. */
function server({ opens = true, logitsAll = true, stream = () => [] }: Stub = {}, more: Partial<RemoteSettings> = {}) {
  const bodies: Body[] = [];
  const log: string[] = [];
  let running = 0;
  let most = 0;
  const encode = (text: string): number[] => [...(opens ? [bos] : []), ...tokenizeText(text)];
  const complete = (body: Body): Response => {
    const bias = Object.keys((body["logit_bias"] as object | undefined) ?? {});
    if (body["stream"] === true) {
      bodies.push(body);
      return new Response(
        `${stream(body)
          .map((event) => `data: ${JSON.stringify({ choices: [event] })}\n\n`)
          .join("")}data: [DONE]\n\n`,
      );
    }
    if (body["echo"] !== true && bias.length === 0) bodies.push(body);
    if (body["echo"] !== true)
      return Response.json({ choices: [{ text: "", finish_reason: bias[0] === String(end) ? "stop" : "length" }] });
    bodies.push(body);
    if (!logitsAll)
      return Response.json(
        { error: { message: "logprobs is not supported for models created with logits_all=False" } },
        { status: 500 },
      );
    const echoed = encode(String(body["prompt"])).slice(1);
    return Response.json({
      choices: [{ logprobs: { token_logprobs: [null, ...echoed.slice(1).map((token) => -token), -1] } }],
    });
  };
  const fake = async (url: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const body = JSON.parse(String(init?.body ?? "{}")) as Body;
    running += 1;
    most = Math.max(most, running);
    await new Promise((resolve) => setTimeout(resolve, 1));
    running -= 1;
    switch (new URL(String(url)).pathname) {
      case "/v1/models":
        return Response.json({ data: [{ id: "/models/small.gguf" }] });
      case "/extras/tokenize":
        return Response.json({ tokens: encode(String(body["input"])) });
      case "/extras/detokenize": {
        const text = (body["tokens"] as number[])
          .map((token) => (spellings.has(token) ? "" : String.fromCharCode(token)))
          .join("");
        if (text.isWellFormed()) return Response.json({ text });
        return Response.json(
          { error: { message: "'utf-8' codec can't decode bytes: unexpected end of data" } },
          { status: 500 },
        );
      }
      default:
        return complete(body);
    }
  };
  const settings = { urls: ["http://server"], timeoutMs: 60_000, retries: 0, contextSize: 64, ...more };
  const engine: RunningEngine = openLlamaCppPython(settings, {
    fetch: fake,
    now: () => 0,
    log: (line) => log.push(line),
  });
  return { engine, bodies, log, mostAtOnce: () => most };
}

const request: SampleRequest = {
  temperature: 0.7,
  topP: 0.9,
  topK: 40,
  maxTokens: 8,
  stop: ["#"],
  seeds: [10, 11],
  logprobs: true,
};
const codes = (text: string): number[] => tokenizeText(text);

async function sample(engine: RunningEngine, overrides: Partial<SampleRequest> = {}): Promise<SampleEvent[]> {
  const events: SampleEvent[] = [];
  for await (const event of engine.sample(await engine.textPrompt("Hi"), { ...request, ...overrides }))
    events.push(event);
  return events;
}

async function score(engine: RunningEngine, text: string, completion: readonly number[]): Promise<readonly number[]> {
  for await (const event of engine.score(await engine.textPrompt(text), [completion]))
    if (event.type === "scored") return event.logprobs;
  return [];
}

describe("texts", () => {
  it("keep the spelling of a control token, which a prompt has broken up", async () => {
    const { engine } = server();
    expect(await engine.tokenize(["a<eos>b"])).toEqual([[..."a<eos>b"].flatMap(codes)]);
    expect(await engine.textPrompt("a<eos>[b]")).toMatchObject({
      tokens: [bos, ...[..."a< eos>[ b]"].flatMap(codes)],
      end,
      text: "a< eos>[ b]",
    });
    expect(await engine.textPrompt("1 < 2 [ok]")).toMatchObject({ text: "1 < 2 [ok]" });
    expect(await engine.textPrompt("a<eos>", undefined, true)).toMatchObject({
      tokens: [bos, ...codes("a"), end],
      text: "a<eos>",
    });
  });

  it("come without half a character at their end", async () => {
    const { engine } = server();
    expect(await engine.detokenize(codes("a😊"))).toBe("a😊");
    expect(await engine.detokenize(codes("a😊").slice(0, -1))).toBe("a");
  });
});

describe("scores", () => {
  it("are the echoed completion's log-probabilities, its end's too", async () => {
    const { engine, bodies } = server();
    expect(await score(engine, "Hi", [...codes(" yo"), end])).toEqual([...codes(" yo"), end].map((token) => -token));
    expect(bodies.at(-1)).toMatchObject({ prompt: "Hi yo<eos>", echo: true, max_tokens: 1 });
  });

  it("are refused where the server pairs them with other tokens, or tells none", async () => {
    for (const stub of [{ opens: false }, { logitsAll: false }]) {
      const { engine, log } = server(stub);
      expect((await engine.info()).capabilities).toMatchObject({
        chat: false,
        text: true,
        score: false,
        grammar: true,
        tools: null,
      });
      await expect(score(engine, "Hi", codes("yo"))).rejects.toMatchObject({ code: "unsupported_parameter" });
      expect(log.join()).toContain("cannot score");
    }
    // The spelling would be taken for the token.
    await expect(score(server().engine, "Hi", [..."<eos>"].flatMap(codes))).rejects.toMatchObject({
      code: "engine_failure",
    });
  });
});

describe("tenants", () => {
  const stream = () => [{ text: "!", finish_reason: "stop" }];
  const ask = async (engine: RunningEngine, tenant: string | undefined, text: string) => {
    const prompt = { ...(await engine.textPrompt(text)), tenant };
    for await (const _ of engine.sample(prompt, { ...request, seeds: [1] }));
    for await (const _ of engine.score(prompt, [[end]]));
  };

  it("do not find what another's prompt has left: a letter comes between them", async () => {
    const { engine, bodies } = server({ stream });
    await engine.info();
    bodies.splice(0);
    await ask(engine, undefined, "Hi");
    await ask(engine, "alice", "Hi");
    await ask(engine, "alice", "Ho");
    await ask(engine, "bob", "Hi");
    const asked = bodies.map(({ prompt }) => prompt);
    expect(asked).toEqual(["Hi", "Hi<eos>", "a", "Hi", "Hi<eos>", "Ho", "Ho<eos>", "a", "Hi", "Hi<eos>"]);
  });

  it("do where that is asked for", async () => {
    const { engine, bodies } = server({ stream }, { prefixCache: "shared" });
    await engine.info();
    bodies.splice(0);
    await ask(engine, "alice", "Hi");
    await ask(engine, "bob", "Hi");
    expect(bodies.map(({ prompt }) => prompt)).toEqual(["Hi", "Hi<eos>", "Hi", "Hi<eos>"]);
  });
});

describe("samples", () => {
  const stream = ({ seed }: Body) => [
    { text: `${seed}`, finish_reason: null },
    { text: "!", finish_reason: null },
    { text: "", finish_reason: seed === 10 ? "stop" : "length" },
  ];

  it("are streamed one after another, a seed each", async () => {
    const { engine, bodies } = server({ stream });
    const events = await sample(engine, { grammar: "root ::= [0-9]+", logitBias: new Map([[7, -1]]) });
    expect(events.flatMap((event) => (event.type === "text" ? [[event.index, event.text]] : []))).toEqual([
      [0, "10"],
      [0, "!"],
      [1, "11"],
      [1, "!"],
    ]);
    expect(events.flatMap((event) => (event.type === "done" ? [event.sample] : []))).toEqual([
      { text: "10!", finish: "stop", tokens: codes("10!"), logprobs: [], endLogprobs: [] },
      { text: "11!", finish: "length", tokens: codes("11!"), logprobs: [], endLogprobs: [] },
    ]);
    const asked = {
      prompt: "Hi",
      max_tokens: 8,
      temperature: 0.7,
      top_p: 0.9,
      top_k: 40,
      min_p: 0,
      repeat_penalty: 1,
      stop: ["#"],
      stream: true,
    };
    expect(bodies.at(-1)).toEqual({ ...asked, grammar: "root ::= [0-9]+", logit_bias: { 7: -1 }, seed: 11 });
  });

  it("take their turn with all other calls, whatever their reader does meanwhile", async () => {
    const { engine, mostAtOnce } = server({ stream });
    const read = async (): Promise<void> => {
      for await (const event of engine.sample(await engine.textPrompt("Hi"), request))
        if (event.type === "text") await engine.tokenize([event.text]);
    };
    await Promise.all([read(), read(), engine.tokenize(["a", "b"])]);
    expect(mostAtOnce()).toBe(1);
  });

  it("are an error where another client's call broke them off, or what is asked for cannot be had", async () => {
    await expect(sample(server({ stream: () => [{ text: "Hal", finish_reason: null }] }).engine)).rejects.toMatchObject(
      {
        code: "engine_unavailable",
      },
    );
    const { engine } = server({ stream });
    await expect(sample(engine, { frequencyPenalty: 1 })).rejects.toMatchObject({
      code: "unsupported_parameter",
      param: "frequency_penalty",
    });
    await expect(sample(engine, { topLogprobs: 1 })).rejects.toMatchObject({
      code: "unsupported_parameter",
      param: "logprobs",
    });
    const long = await engine.textPrompt("x".repeat(80));
    await expect(engine.sample(long, request)[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: "context_length_exceeded",
    });
  });
});
