import { describe, expect, it } from "vitest";
import type { RunningEngine, SampleEvent, SampleRequest } from "../../../../src/engine/engine.ts";
import type { RemoteSettings } from "../../../../src/engine/engines.ts";
import { infillTokens } from "../../../../src/engine/infill.ts";
import { openLlamaServer } from "../../../../src/engine/llama-server/index.ts";

/** A vocabulary in small: control tokens, two halves of a character, and letters. */
const pieces: readonly (string | number[])[] = [
  "<s>",
  "<|turn|>",
  "</s>",
  [0xf0, 0x9f],
  [0x98, 0x8a],
  ..."\n abcdefghijklmnopqrstuvwxyz<|>/:",
];
const control = new Set([0, 1, 2]);
const [bos, turn, end, firstHalf, secondHalf] = [0, 1, 2, 3, 4];
const template =
  "{% for m in messages %}{{ '<|turn|>' + m.role + ':' + m.content + '</s>' }}{% endfor %}{{ '<|turn|>assistant:' }}";
const of = (text: string): number[] => [...text].map((letter) => pieces.indexOf(letter));

function tokenizeText(text: string, special: boolean): number[] {
  for (const token of special ? control : []) {
    const [before = "", ...after] = text.split(pieces[token] as string);
    if (after.length > 0)
      return [...tokenizeText(before, true), token, ...tokenizeText(after.join(pieces[token] as string), true)];
  }
  return [...text].flatMap((letter) =>
    letter === "😊" ? [firstHalf, secondHalf] : pieces.indexOf(letter),
  ) as number[];
}

type Body = Record<string, unknown> & { readonly prompt: number[] };
interface Stub {
  readonly slots?: number;
  readonly adapters?: readonly { id: number; path: string; scale: number }[];
  readonly complete?: (body: Body) => readonly object[];
}

/** A server that answers as llama-server (b1-de3ff81) does, from memory. */
function server(
  { slots = 4, adapters = [], complete = () => [] }: Stub = {},
  model?: string,
  more: Partial<RemoteSettings> = {},
): { engine: RunningEngine; bodies: Body[]; log: string[] } {
  const bodies: Body[] = [];
  const log: string[] = [];
  const answer = (path: string, body: Body): object | string => {
    switch (path) {
      case "/props": {
        const named = { bos_token: "<s>", eos_token: "</s>", model_path: "/models/small.gguf" };
        return { default_generation_settings: { n_ctx: 64 }, total_slots: slots, chat_template: template, ...named };
      }
      case "/v1/models":
        return { data: [{ id: "small", meta: { n_vocab: pieces.length, size: 99 } }] };
      case "/lora-adapters":
        return adapters;
      case "/tokenize": {
        const content = [body["content"]].flat() as (string | number)[];
        if (body["with_pieces"])
          return { tokens: content.map((token) => ({ id: token, piece: pieces[token as number] })) };
        const tokens = content.flatMap((item) =>
          typeof item === "number" ? item : tokenizeText(item, body["parse_special"] !== false),
        );
        return { tokens: body["add_special"] ? [bos, ...tokens] : tokens };
      }
      default:
        bodies.push(body);
        return complete(body)
          .map((event) => `data: ${JSON.stringify(event)}\n\n`)
          .join("");
    }
  };
  const fake = async (url: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const answered = answer(new URL(String(url)).pathname, JSON.parse(String(init?.body ?? "{}")) as Body);
    return new Response(typeof answered === "string" ? answered : JSON.stringify(answered));
  };
  const settings = { urls: ["http://server"], timeoutMs: 60_000, retries: 0, model, ...more };
  return {
    engine: openLlamaServer(settings, { fetch: fake, now: () => 0, log: (line) => log.push(line) }),
    bodies,
    log,
  };
}

const progress = {
  index: 0,
  content: "",
  tokens: [0],
  stop: false,
  tokens_predicted: 0,
  prompt_progress: { total: 9, cache: 5, processed: 9 },
};
const shown = (
  token: number,
  content: string,
  predicted: number,
  logprob = -predicted,
  top: readonly object[] = [],
) => ({
  index: 0,
  content,
  tokens: [token],
  stop: false,
  tokens_predicted: predicted,
  completion_probabilities: [{ id: token, logprob, top_logprobs: top }],
});
const stopped = (stop_type: string, predicted: number) => ({
  index: 0,
  content: "",
  tokens: [],
  stop: true,
  stop_type,
  tokens_predicted: predicted,
});
const request: SampleRequest = {
  temperature: 0.7,
  topP: 0.9,
  topK: 40,
  maxTokens: 8,
  stop: [],
  seeds: [10],
  logprobs: true,
};
const prompt = { tokens: of("abba"), end };

async function sample(engine: RunningEngine, overrides: Partial<SampleRequest> = {}): Promise<SampleEvent[]> {
  const events: SampleEvent[] = [];
  for await (const event of engine.sample(prompt, { ...request, ...overrides })) events.push(event);
  return events;
}

async function score(
  engine: RunningEngine,
  completions: readonly (readonly number[])[],
  top?: number,
): Promise<(readonly number[])[]> {
  const scored: (readonly number[])[] = [];
  for await (const event of engine.score(prompt, completions, undefined, top))
    if (event.type === "scored") scored.push(event.logprobs);
  return scored;
}

describe("the vocabulary and the template of the server", () => {
  it("make tokens without a control token from any content", async () => {
    const { engine } = server();
    expect(await engine.tokenize(["ab</s>", "", "😊"])).toEqual([of("ab</s>"), [], [firstHalf, secondHalf]]);
    expect(await engine.textPrompt("<|turn|>")).toEqual({ tokens: [bos, ...of("<|turn|>")], end, opening: 1 });
    const { tokens } = await engine.chatPrompt([{ role: "user", content: "a</s><|turn|>b" }]);
    expect(tokens).toEqual([bos, turn, ...of("user:a</s><|turn|>b"), end, turn, ...of("assistant:")]);
    expect(await engine.describe([firstHalf, end])).toEqual([
      { text: "�", bytes: [0xf0, 0x9f] },
      { text: "</s>", bytes: [60, 47, 115, 62] },
    ]);
    expect(await engine.detokenize([...of("ab"), firstHalf, secondHalf, firstHalf])).toBe("ab😊");
  });

  it("hold control tokens in a prompt that may spell them, and what begins a text once", async () => {
    const { engine } = server();
    expect(await engine.textPrompt("a<|turn|>", undefined, true)).toEqual({
      tokens: [bos, ...of("a"), turn],
      end,
      opening: 1,
    });
    expect(await engine.textPrompt("<s>a", undefined, true)).toEqual({ tokens: [bos, ...of("a")], end, opening: 0 });
    expect(await engine.textPrompt("", undefined, true)).toEqual({ tokens: [bos], end, opening: 1 });
  });

  it("name the tokens for filling in the middle, if there are any", () => {
    const control = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"].map((name, i): [string, number] => [
      name,
      i,
    ]);
    expect(infillTokens(new Map(control))).toEqual({ prefix: 0, suffix: 1, middle: 2 });
    expect(infillTokens(new Map(control.slice(1)))).toBeUndefined();
  });

  it("are told with what it can do", async () => {
    const { contextSize, mostCharacters, model, capabilities } = await server().engine.info();
    const longest = "<|turn|>".length;
    expect({ contextSize, mostCharacters, model }).toEqual({
      contextSize: 64,
      mostCharacters: 64 * longest,
      model: "small.gguf:99",
    });
    expect(capabilities).toMatchObject({ chat: true, text: true, score: true, grammar: true, tools: null });
    expect(Object.keys(capabilities.lacks ?? {})).toEqual(["minTokens", "penaltiesTogether"]);
  });
});

describe("tenants", () => {
  const complete = (body: Body) => [
    progress,
    ...(body["n_predict"] === 0 ? [] : [shown(end, "", 1)]),
    stopped("eos", 1),
  ];
  const ask = async (engine: RunningEngine, tenant: string | undefined) => {
    const cached: number[] = [];
    for await (const event of engine.sample({ ...prompt, tenant }, request))
      if (event.type === "prompt") cached.push(event.cached);
    for await (const event of engine.score({ ...prompt, tenant }, [[end]]))
      if (event.type === "prompt") cached.push(event.cached);
    return cached;
  };

  it("get nothing from a cache that does not tell them apart; where there is one tenant only, all", async () => {
    const { engine, bodies } = server({ complete });
    await ask(engine, "alice");
    expect(bodies.splice(0).map((body) => body["cache_prompt"])).toEqual([false, false, false]);
    expect(await ask(engine, undefined)).toEqual([5, 5]);
    expect(bodies.map((body) => body["cache_prompt"])).toEqual([true, true, true]);
  });

  it("share it where that is asked for, and are not told what it held", async () => {
    const { engine, bodies } = server({ complete }, undefined, { prefixCache: "shared" });
    expect(await ask(engine, "alice")).toEqual([0, 0]);
    expect(bodies.map((body) => body["cache_prompt"])).toEqual([true, true, true]);
  });
});

describe("sampling", () => {
  it("passes on text, and notes log-probabilities, the end's too", async () => {
    const complete = () => [
      progress,
      shown(of("h")[0] as number, "h", 1, -1, [{ id: end, logprob: -4 }]),
      shown(of("i")[0] as number, "i", 2),
      shown(end, "", 3),
      stopped("eos", 3),
    ];
    const { engine, bodies } = server({ complete });
    const sampled = { text: "hi", finish: "stop", tokens: of("hi"), logprobs: [-1, -2], endLogprobs: [-4, null, -3] };
    expect(await sample(engine)).toEqual([
      { type: "prompt", cached: 5 },
      { type: "text", index: 0, text: "h", tokens: 1 },
      { type: "text", index: 0, text: "i", tokens: 1 },
      { type: "done", index: 0, sample: sampled },
    ]);
    expect(bodies[0]).toMatchObject({
      prompt: prompt.tokens,
      n_cmpl: 1,
      seed: 5,
      samplers: ["penalties", "top_k", "top_p", "min_p", "temperature"],
      min_p: 0,
      repeat_penalty: 1,
      ignore_eos: false,
      n_probs: 1,
      cache_prompt: true,
    });
  });

  it("tells how much of the prompt has been computed, what was cached not among it", async () => {
    const parts = [5, 7, 9].map((processed) => ({ ...progress, prompt_progress: { total: 9, cache: 5, processed } }));
    const complete = (body: Body) => [
      ...parts,
      ...(body["n_predict"] === 0 ? [] : [shown(end, "", 1)]),
      stopped("eos", 1),
    ];
    const { engine } = server({ complete });
    const told: object[] = [];
    for await (const event of engine.sample(prompt, request)) if (event.type !== "done") told.push(event);
    const fed = (tokens: number) => ({ type: "prefill", fed: tokens });
    expect(told).toEqual([fed(0), fed(2), { type: "prompt", cached: 5 }]);
    const scored: object[] = [];
    for await (const event of engine.score(prompt, [])) scored.push(event);
    expect(scored).toEqual([fed(0), fed(2), fed(4), { type: "prompt", cached: 5 }]);
  });

  it("takes as many at once as the server has slots", async () => {
    const complete = ({ n_cmpl: n }: Body) =>
      Array.from({ length: n as number }, (_, index) => ({ ...stopped("limit", 0), index }));
    const { engine, bodies } = server({ slots: 2, complete });
    const done = (await sample(engine, { seeds: [2, 4, 6, 8, 10] })).flatMap((event) =>
      event.type === "done" ? event.index : [],
    );
    expect(done).toEqual([0, 1, 2, 3, 4]);
    expect(bodies.map(({ n_cmpl: n, seed }) => [n, seed])).toEqual([
      [2, 1],
      [2, 3],
      [1, 5],
    ]);
  });

  it("ends where the model leaves its turn by a token that the server goes on after", async () => {
    const complete = () => [
      shown(of("h")[0] as number, "h", 1),
      shown(turn, "", 2),
      shown(of("x")[0] as number, "x", 3),
      stopped("limit", 3),
    ];
    const done = (await sample(server({ complete }).engine)).at(-1);
    expect(done).toMatchObject({ sample: { text: "h", finish: "stop", tokens: of("h") } });
  });

  it("says which stop string ended a sample", async () => {
    const complete = () => [shown(of("h")[0] as number, "h", 1), { ...stopped("word", 2), stopping_word: "uv" }];
    const events = await sample(server({ complete }).engine, { stop: ["uv"] });
    expect(events.at(-1)).toMatchObject({ sample: { text: "h", finish: "stop", stopString: "uv" } });
  });

  it("shows what the server held back for a stop string that did not come", async () => {
    const complete = () => [
      shown(of("h")[0] as number, "h", 1),
      shown(of("u")[0] as number, "", 2),
      stopped("limit", 2),
    ];
    const events = await sample(server({ complete }).engine, { stop: ["uv"] });
    expect(events.flatMap((event) => (event.type === "text" ? event.text : []))).toEqual(["h", "u"]);
    expect(events.at(-1)).toMatchObject({ sample: { text: "hu", finish: "length", tokens: of("hu") } });
  });

  it("notes nothing where half a character's token was not shown, and has its details computed", async () => {
    const lost = [shown(of("h")[0] as number, "h", 1), shown(secondHalf, "😊", 3), stopped("limit", 3)];
    const complete = (body: Body) => {
      if (body["n_cmpl"] !== undefined) return lost;
      const likely = [firstHalf, secondHalf].map((id) => ({ id, logprob: -7 }));
      return body["grammar"] === undefined ? [shown(end, "", 1, -9, likely)] : [shown(of("h")[0] as number, "h", 1)];
    };
    const { engine } = server({ complete });
    expect((await sample(engine)).at(-1)).toMatchObject({
      sample: { text: "h😊", tokens: [...of("h"), firstHalf, secondHalf], logprobs: [], endLogprobs: [] },
    });
    const events = await sample(engine, { topLogprobs: 1 });
    const details = events.flatMap((event) => (event.type === "text" ? (event.details ?? []) : []));
    expect(details.map(({ offset, bytes, logprob }) => [offset, bytes.length, logprob])).toEqual([
      [0, 1, -1],
      [1, 2, -7],
      [1, 2, -7],
    ]);
  });

  it("details the token that closed it as well, where all tokens have come", async () => {
    const complete = () => [progress, shown(of("h")[0] as number, "h", 1), shown(end, "", 2), stopped("eos", 2)];
    const events = await sample(server({ complete }).engine, { topLogprobs: 1 });
    expect(events.at(-1)).toMatchObject({
      sample: { text: "h", details: [{ text: "h" }], rest: [{ text: "</s>", offset: 1 }] },
    });
  });

  it("adds what the server would subtract for the prompt's tokens, and refuses what it cannot make good", async () => {
    const { engine, bodies } = server({ complete: () => [stopped("limit", 0)] });
    const [a, b, c] = of("abc") as [number, number, number];
    await sample(engine, {
      frequencyPenalty: 0.5,
      logitBias: new Map([
        [a, 1],
        [c, 2],
      ]),
    });
    expect(new Map(bodies[0]?.["logit_bias"] as [number, number][])).toEqual(
      new Map([
        [a, 2],
        [c, 2],
        [b, 1],
      ]),
    );
    await expect(sample(engine, { presencePenalty: 0.5 })).rejects.toMatchObject({
      code: "unsupported_parameter",
      param: "presence_penalty",
    });
  });

  it("says what is not OpenAI's, too", async () => {
    const { engine, bodies } = server({ complete: () => [stopped("limit", 0)] });
    await sample(engine, { minP: 0.1, repetitionPenalty: 1.2, repetitionWindow: 5 });
    expect(bodies[0]).toMatchObject({ min_p: 0.1, repeat_penalty: 1.2, repeat_last_n: 5, ignore_eos: false });
    await sample(engine, { repetitionPenalty: 1.2, repetitionWindow: 0, ignoreEos: true });
    expect(bodies[1]).toMatchObject({ repeat_penalty: 1, ignore_eos: true });
    expect(bodies[1]?.["logit_bias"]).toContainEqual([end, false]);
  });

  it("keeps control tokens out of a grammar's text", async () => {
    const { engine, bodies } = server({ complete: () => [stopped("limit", 0)] });
    await sample(engine, { grammar: 'root ::= "a"' });
    expect(bodies[0]).toMatchObject({
      grammar: 'root ::= "a"',
      logit_bias: [
        [bos, false],
        [turn, false],
      ],
    });
  });

  it("is an error where the server breaks off", async () => {
    await expect(sample(server({ complete: () => [progress] }).engine)).rejects.toMatchObject({
      code: "engine_unavailable",
    });
  });
});

describe("scoring", () => {
  const likely = [
    { id: firstHalf, logprob: -5 },
    { id: secondHalf, logprob: -6 },
  ];
  /** Samples what the grammar allows, each token with −(its number) nats. */
  const forced = (body: Body): object[] => {
    if (body["n_predict"] === 0) return [progress, stopped("limit", 1)];
    const grammar = body["grammar"] as string | undefined;
    const ids = grammar === undefined ? [end] : [...grammar.matchAll(/<\[(\d+)\]>/gu)].map(([, id]) => Number(id));
    return [...ids.map((id, i) => shown(id, "", i + 1, -id, likely)), stopped("limit", ids.length)];
  };

  it("forces runs of text by a grammar of tokens, and looks for halves of characters among the likeliest", async () => {
    const { engine, bodies } = server({ complete: forced });
    const [a, b] = of("ab") as [number, number];
    expect(await score(engine, [[a, firstHalf, secondHalf, b, end]])).toEqual([[-a, -5, -6, -b, -end]]);
    const asked = bodies.map(({ prompt: context, grammar, n_predict: n }) => [
      context.length - prompt.tokens.length,
      n,
      grammar,
    ]);
    expect(asked).toEqual([
      [0, 0, undefined],
      [0, 1, `root ::= <[${a}]>`],
      [1, 1, undefined],
      [2, 1, undefined],
      [3, 2, `root ::= <[${b}]> (<[${end}]>)?`],
    ]);
  });

  it("is an error where the server samples other tokens, or knows none of them", async () => {
    const complete = (body: Body) => (body["grammar"] === undefined ? forced(body) : [shown(end, "", 1)]);
    await expect(score(server({ complete }).engine, [of("ab")])).rejects.toMatchObject({ code: "engine_failure" });
    const silent = (body: Body) => (body["n_predict"] === 0 ? forced(body) : [shown(end, "", 1)]);
    await expect(score(server({ complete: silent }).engine, [[firstHalf, end]])).rejects.toMatchObject({
      code: "engine_failure",
    });
  });
});

describe("adapters", () => {
  const adapters = [
    { id: 0, path: "/loras/sft.gguf", scale: 1 },
    { id: 1, path: "/loras/dpo.gguf", scale: 1 },
  ];

  it("are worn by name, one at a time, and no prompt comes from the cache that all share", async () => {
    const { engine, bodies, log } = server({ adapters, complete: () => [stopped("limit", 0)] }, "dpo");
    expect((await engine.info()).model).toBe("small.gguf:99+dpo");
    await sample(engine);
    expect(bodies[0]).toMatchObject({
      lora: [
        { id: 0, scale: 0 },
        { id: 1, scale: 1 },
      ],
      cache_prompt: false,
    });
    expect(log.join()).toContain("adapters");
    const base = server({ adapters, complete: () => [stopped("limit", 0)] }, "base");
    await sample(base.engine);
    expect(base.bodies[0]).toMatchObject({
      lora: [
        { id: 0, scale: 0 },
        { id: 1, scale: 0 },
      ],
    });
    expect((await base.engine.info()).model).toBe("small.gguf:99");
  });
});
