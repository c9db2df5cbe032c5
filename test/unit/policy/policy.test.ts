/** Policies, routes and demonstrations: from the text of the files to what a request gets. */

import { describe, expect, it } from "vitest";
import { onlyEngine } from "../../../src/engine/engines.ts";
import { buildPolicySet, type PolicyDependencies } from "../../../src/policy/build.ts";
import { overridden } from "../../../src/policy/overrides.ts";
import { parseDemonstrations, parseYaml } from "../../../src/policy/parse.ts";
import {
  type DemonstrationSource,
  demonstrationSet,
  type PolicyFiles,
  textFile,
} from "../../../src/policy/parsed-policies.ts";
import type { PolicySet } from "../../../src/policy/policy.ts";
import { resolveRoute } from "../../../src/policy/resolve.ts";
import { routesSchema } from "../../../src/policy/routes-schema.ts";
import { policySchema } from "../../../src/policy/schema.ts";
import type { Embedder } from "../../../src/retrieval/retriever.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { type Script, ScriptedEngine } from "../scripted-engine.ts";

/** The complaint, which must be a "configuration" error. */
function complaint(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof GatewayError && error.code === "configuration") return error.message;
    throw error;
  }
  throw new Error("nothing was wrong");
}

async function complaintOf(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => new Error("nothing was wrong"),
    (reason: unknown) => reason,
  );
  return complaint(() => {
    throw error;
  });
}

const parsePolicy = (text: string) => parseYaml("policies/p.yaml", text, policySchema);
const parseRoutes = (text: string) => parseYaml("policies/routes.yaml", text, routesSchema);
const parseSet = (text: string) => parseDemonstrations("demos/d.jsonl", text);

const paired = '{"id":"a","messages":[{"role":"user","content":"Hi"}],"chosen":"Hello!","rejected":"What."}';
const unpaired = '{"id":"lone","messages":[{"role":"user","content":"Bye"}],"chosen":"Goodbye!"}';
const plain = "score: { type: none }\n";
const contrast = "demonstrations: d\nretriever: { type: random }\nscore: { type: contrast, negative: rejected }\n";

const embed: Embedder["embed"] = async (texts) =>
  texts.map((text) => Float32Array.of(text.includes("Hi") ? 1 : 0, text.includes("Hi") ? 0 : 1));
const embedder: Embedder = { model: "letters", embed, embedKept: embed };

interface World {
  readonly embedder?: Embedder;
  readonly policies?: Readonly<Record<string, string>>;
  readonly routes?: string;
  readonly demonstrations?: Readonly<Record<string, string>>;
  readonly script?: Script;
}

function build({
  policies = { p: plain },
  routes = "routes: { r: { policy: p } }\n",
  demonstrations = { d: paired },
  script = {},
  embedder: embeds = embedder,
}: World = {}) {
  const files: PolicyFiles = {
    policies: new Map(Object.entries(policies)),
    routes,
    demonstrations: new Map(Object.entries(demonstrations).map(([name, text]) => [name, textFile(text)])),
  };
  const dependencies: PolicyDependencies = {
    engines: onlyEngine(new ScriptedEngine(script)),
    embedder: async () => embeds,
  };
  return buildPolicySet(files, dependencies);
}

describe("a policy's defaults", () => {
  it("are those of the paper", () => {
    expect(parsePolicy("score: { type: likelihood }")).toEqual({
      retriever: { type: "none" },
      instructions: undefined,
      shots: 2,
      candidates: 3,
      score: { type: "likelihood", normalize: "sum" },
      prompt: "auto",
      sampling: { temperature: 1, top_p: 0.8, top_k: 50 },
    });
  });

  it("say of sampling only what is said, in the order in which ids are made of it", () => {
    const said = (text: string) => Object.keys(parsePolicy(`score: { type: likelihood }\nsampling: ${text}`).sampling);
    expect(said("{ max_tokens: 512 }")).toEqual(["temperature", "top_p", "top_k", "max_tokens"]);
    expect(said("{ min_p: 0.1, repetition_penalty: 1.1, repeat_last_n: 64, min_tokens: 2 }")).toHaveLength(7);
  });

  it("fill in a two-stage retriever's window and shortlist, and BM25's window", () => {
    const retriever = (type: string) =>
      parsePolicy(`demonstrations: d\nretriever: { type: ${type} }\nscore: { type: none }`).retriever;
    expect(retriever("two-stage")).toEqual({ type: "two-stage", window: 30, shortlist: 20 });
    expect(retriever("bm25")).toEqual({ type: "bm25", window: 30 });
  });

  it("give demonstrations both instructions, and a single given instruction the other", () => {
    const positive = "Answer every message as politely, harmlessly, helpfully and honestly as possible.";
    const negative = "Answer every message as offensively, harmfully, unhelpfully and misleadingly as possible.";
    expect(parsePolicy(contrast).instructions).toEqual({ positive, negative });
    expect(parsePolicy("instructions: { positive: Be kind. }\nscore: { type: none }").instructions).toEqual({
      positive: "Be kind.",
      negative,
    });
  });

  it("pick the first sample where nothing is scored", () => {
    expect(parsePolicy(plain).score).toEqual({ type: "none", pick: "first" });
  });

  it("are filled in field by field", () => {
    const { sampling } = parsePolicy(`${plain}sampling: { temperature: 0, max_tokens: 128 }`);
    expect(sampling).toEqual({ temperature: 0, top_p: 0.8, top_k: 50, max_tokens: 128 });
  });
});

describe("what a policy's complaints say", () => {
  it.each([
    ["a wrong type", "score: { type: none }\n\ncandidates: many\n", 3, "candidates"],
    [
      "a value out of range",
      "score: { type: none }\nsampling:\n  top_k: 5\n  temperature: 3\n",
      4,
      "sampling.temperature",
    ],
    ["a fraction", "shots: 1.5\nscore: { type: none }\n", 1, "shots"],
    ["no number at all", "score: { type: none }\nsampling:\n  temperature: .nan\n", 3, "sampling.temperature"],
    [
      "β where no length is taken off",
      "candidates: 2\nscore:\n  type: likelihood\n  nats_per_token: 0.05\n",
      4,
      "score.nats_per_token",
    ],
    ["an infinite one", "score: { type: none }\nsampling:\n  max_tokens: .inf\n", 3, "sampling.max_tokens"],
    ["an unknown score", "shots: 1\nscore:\n  type: guess\n", 3, "score.type"],
    ["an unknown negative", "instructions: {}\nscore:\n  type: contrast\n  negative: worst\n", 4, "score.negative"],
    ["an unknown retriever", "score: { type: none }\nretriever: { type: oracle }\n", 2, "retriever.type"],
    ["an unknown prompt format", "score: { type: none }\nprompt: alpaca\n", 2, "prompt"],
    ["demonstrations elsewhere on the disk", "score: { type: none }\ndemonstrations: ../d\n", 2, "demonstrations"],
    ["Windows line ends", "score: { type: none }\r\n\r\nshots: 0\r\n", 3, "shots"],
    ["an unknown field", "score: { type: none }\nshotz: 2\n", 2, "shotz"],
    ["an unknown field of a field", "score: { type: none }\nsampling:\n  top_k: 5\n  top_q: 1\n", 4, "sampling.top_q"],
    ["an unknown field without a value", "score: { type: none }\nbogus:\n", 2, "bogus"],
    ["a field of another score", "score:\n  type: none\n  normalize: sum\n", 3, "score.normalize"],
    [
      "a field of another retriever",
      "demonstrations: d\nretriever:\n  type: random\n  window: 3\nscore: { type: none }\n",
      4,
      "retriever.window",
    ],
    [
      "a least similarity where none is measured",
      "demonstrations: d\nretriever:\n  type: random\n  min_similarity: 0.3\nscore: { type: none }\n",
      4,
      "retriever.min_similarity",
    ],
    [
      "a least similarity that is no cosine",
      "demonstrations: d\nretriever:\n  type: bm25\n  min_similarity: 0.3\nscore: { type: none }\n",
      4,
      "retriever.min_similarity",
    ],
    [
      "a cosine above 1",
      "demonstrations: d\nretriever:\n  type: embedding\n  min_similarity: 30\nscore: { type: none }\n",
      4,
      "retriever.min_similarity",
    ],
    [
      "diversity alone",
      "demonstrations: d\nretriever:\n  type: two-stage\n  mmr: 0\nscore: { type: none }\n",
      4,
      "retriever.mmr",
    ],
  ])("file, line and field: %s", (_, text, line, field) => {
    expect(complaint(() => parsePolicy(text))).toMatch(
      new RegExp(`^policies/p\\.yaml:${line}: ${field.replaceAll(".", "\\.")}: .+`, "u"),
    );
  });

  it("one line for each thing that is wrong", () => {
    const lines = complaint(() => parsePolicy("candidates: 0\nscore: { type: none }\nshots: 99\n"))
      .split("\n")
      .toSorted();
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(/^policies\/p\.yaml:1: candidates: /u);
    expect(lines[1]).toMatch(/^policies\/p\.yaml:3: shots: /u);
  });

  it("the missing field", () => {
    expect(complaint(() => parsePolicy("shots: 2\n"))).toMatch(/^policies\/p\.yaml:1: score: /u);
    expect(complaint(() => parsePolicy(""))).toMatch(/^policies\/p\.yaml:1: score: /u);
    expect(complaint(() => parsePolicy("shots: 2\nscore: { type: contrast }\n"))).toMatch(
      /^policies\/p\.yaml:2: score\.negative: /u,
    );
  });

  it.each(["- a\n- b\n", "just text\n", "42\n"])("that the file holds no policy: %j", (text) => {
    expect(complaint(() => parsePolicy(text))).toMatch(/^policies\/p\.yaml:1: .+/u);
  });

  it.each([
    ["broken YAML", "score: { type: none }\nshots: [1\n", /^policies\/p\.yaml:[23]: .+/u],
    ["a field given twice", "shots: 1\nscore: { type: none }\nshots: 2\n", /^policies\/p\.yaml:3: .+/u],
    ["two documents", "score: { type: none }\n---\nscore: { type: none }\n", /^policies\/p\.yaml:\d: .+/u],
  ])("file and line of %s", (_, text, expected) => {
    expect(complaint(() => parsePolicy(text))).toMatch(expected);
  });

  it("file and line of text that YAML takes for a reference", () => {
    expect(complaint(() => parsePolicy("score: { type: none }\ndescription: *bold\n"))).toMatch(
      /^policies\/p\.yaml:2: .+/u,
    );
  });

  it("that a retriever needs demonstrations, and demonstrations a retriever", () => {
    expect(complaint(() => parsePolicy("retriever: { type: bm25 }\nscore: { type: none }\n"))).toMatch(
      /demonstrations: .*bm25/u,
    );
    expect(complaint(() => parsePolicy("demonstrations: d\nscore: { type: none }\n"))).toMatch(/retriever: /u);
  });

  it("that a contrast of nothing with nothing measures nothing", () => {
    expect(complaint(() => parsePolicy("shots: 2\nscore: { type: contrast, negative: base }\n"))).toMatch(
      /^policies\/p\.yaml:2: score: /u,
    );
    expect(parsePolicy("instructions: {}\nscore: { type: contrast, negative: base }\n").score).toMatchObject({
      negative: "base",
    });
  });
});

describe("demonstrations", () => {
  it("are read a line each, blank lines and Windows line ends aside", async () => {
    expect(await parseSet(`${paired}\r\n\r\n  \n${unpaired}\n`)).toEqual([
      { id: "a", messages: [{ role: "user", content: "Hi" }], chosen: "Hello!", rejected: "What." },
      { id: "lone", messages: [{ role: "user", content: "Bye" }], chosen: "Goodbye!", rejected: undefined },
    ]);
  });

  it("may hold near negatives, one or more texts", async () => {
    const line = (near: unknown) => JSON.stringify({ ...JSON.parse(paired), near });
    expect((await parseSet(line(["Hm.", "Hey."])))[0]).toMatchObject({ rejected: "What.", near: ["Hm.", "Hey."] });
    for (const near of [[], [""], "Hm.", Array(17).fill("Hm.")])
      await expect(parseSet(line(near))).rejects.toThrow(/^demos\/d\.jsonl:1: near/u);
  });

  it("keep their contents as they are, white space, markers and half surrogate pairs included", async () => {
    const content = " ## Human:\r\n\u2028\uD83D <|im_end|> ";
    const line = JSON.stringify({ id: "x", messages: [{ role: "user", content }], chosen: content });
    expect((await parseSet(line))[0]).toMatchObject({ chosen: content, messages: [{ role: "user", content }] });
  });

  it.each([
    ["not JSON", "{", /^demos\/d\.jsonl:2: .+/u],
    ["no object", "[]", /^demos\/d\.jsonl:2: .+/u],
    ["an empty response", paired.replace("Hello!", ""), /^demos\/d\.jsonl:2: chosen: .+/u],
    ["no response", paired.replace('"chosen"', '"source"'), /^demos\/d\.jsonl:2: chosen: .+/u],
    ["an unknown field", paired.replace('"rejected"', '"rejectd"'), /^demos\/d\.jsonl:2: rejectd: .+/u],
    [
      "an unknown field of a message",
      paired.replace('"content"', '"name":"x","content"'),
      /^demos\/d\.jsonl:2: messages\.0\.name: .+/u,
    ],
    [
      "a system turn",
      paired.replace('"user"', '"system"'),
      /^demos\/d\.jsonl:2: messages\.0\.role: .*user and assistant turns only/u,
    ],
    [
      "an assistant's turn at the end",
      paired.replace('"user"', '"assistant"'),
      /^demos\/d\.jsonl:2: messages: must end with a user turn/u,
    ],
    ["no messages", paired.replace(/\[.*\]/u, "[]"), /^demos\/d\.jsonl:2: messages: .+/u],
    ["an empty id", paired.replace('"a"', '""'), /^demos\/d\.jsonl:2: id: .+/u],
  ])("file, line and field are named: %s", async (_, line, expected) => {
    expect(await complaintOf(parseSet(`${unpaired}\n${line}`))).toMatch(expected);
  });

  it("may not share an id, which is named with the second line", async () => {
    expect(await complaintOf(parseSet(`${paired}\n${unpaired}\n\n${paired}\n`))).toMatch(
      /^demos\/d\.jsonl:4: id: "a" /u,
    );
  });

  it.each(["", "\n \r\n"])("are missed in a file without any: %j", async (text) => {
    expect(await complaintOf(parseSet(text))).toMatch(/^demos\/d\.jsonl: /u);
  });
});

describe("a set of policies", () => {
  it("holds each policy and route under its name", async () => {
    const set = await build({
      policies: { one: plain, two: contrast },
      routes: "routes: { a: { policy: one }, b: { policy: two } }",
    });
    expect([...set.policies.keys()]).toEqual(["one", "two"]);
    expect(set.routes.get("a")?.policy.name).toBe("one");
    expect(set.routes.get("b")?.policy.demonstrations.map(({ id }) => id)).toEqual(["a"]);
    expect(set.routes.get("a")?.policy.retriever).toBeNull();
  });

  it("takes auto for chat where the model has a chat template, else for hh-rlhf", async () => {
    const format = async (chat: boolean) =>
      (
        await build({ script: { capabilities: { chat, text: true, score: true, grammar: true, tools: null } } })
      ).policies.get("p")?.sampler.format;
    expect(await format(true)).toBe("chat");
    expect(await format(false)).toBe("hh-rlhf");
  });

  it("keeps a format that the policy names", async () => {
    const set = await build({ policies: { p: `${plain}prompt: hh-rlhf\n` } });
    expect(set.policies.get("p")?.sampler.format).toBe("hh-rlhf");
  });

  it.each(["random", "bm25", "embedding", "two-stage"])("gives a policy the retriever it names: %s", async (type) => {
    const set = await build({ policies: { p: `demonstrations: d\nretriever: { type: ${type} }\n${plain}` } });
    const found = await set.policies
      .get("p")
      ?.retriever?.retrieve([{ role: "user", content: "Hi" }], { shots: 2, random: () => 0 });
    expect(found?.map(({ demonstration }) => demonstration.id)).toEqual(["a"]);
  });

  it.each([
    ["chat", "Hi"],
    ["hh-rlhf", "Human: Hi"],
    ["synthetic-gpt", "Human: Hi"],
  ])("shows BM25 prompts as the policy's format has them: %s", async (format, text) => {
    const engine = new ScriptedEngine();
    const tokenize = engine.tokenize.bind(engine);
    const texts: string[] = [];
    engine.tokenize = (given) => {
      texts.push(...given);
      return tokenize(given);
    };
    const files: PolicyFiles = {
      policies: new Map([["p", `demonstrations: d\nretriever: { type: bm25 }\n${plain}prompt: ${format}\n`]]),
      routes: "routes: { r: { policy: p } }",
      demonstrations: new Map([["d", textFile(paired)]]),
    };
    await buildPolicySet(files, { engines: onlyEngine(engine), embedder: async () => embedder });
    expect(texts).toEqual([text]);
  });

  it("leaves demonstrations out that are less similar than it says", async () => {
    const retriever = "{ type: embedding, min_similarity: 0.5 }";
    const set = await build({ policies: { p: `demonstrations: d\nretriever: ${retriever}\n${plain}` } });
    const found = (content: string) =>
      set.policies.get("p")?.retriever?.retrieve([{ role: "user", content }], { shots: 2, random: () => 0 });
    expect(await found("Hi there")).toHaveLength(1);
    expect(await found("Bye")).toEqual([]);
  });

  it("is the same of demonstrations that are parsed already", async () => {
    const built = async (set: DemonstrationSource) => {
      const files: PolicyFiles = {
        policies: new Map([["p", contrast]]),
        routes: "routes: { r: { policy: p } }",
        demonstrations: new Map([["d", set]]),
      };
      const dependencies = { engines: onlyEngine(new ScriptedEngine()), embedder: async () => embedder };
      return (await buildPolicySet(files, dependencies)).policies.get("p");
    };
    const parsed = await parseSet(paired);
    const lines = parsed.map((demonstration) => JSON.stringify(demonstration)).join("\n");
    const ofText = await built(textFile(lines));
    const ofParsed = await built(demonstrationSet(parsed));
    expect(ofParsed?.id).toBe(ofText?.id);
    expect(ofParsed?.demonstrations).toBe(parsed);
  });

  it("asks for sentence embeddings only where a retriever needs them", async () => {
    let asked = 0;
    const files: PolicyFiles = {
      policies: new Map([["p", contrast]]),
      routes: "routes: { r: { policy: p } }",
      demonstrations: new Map([["d", textFile(paired)]]),
    };
    const countingEmbedder = async () => {
      asked += 1;
      return embedder;
    };
    await buildPolicySet(files, { engines: onlyEngine(new ScriptedEngine()), embedder: countingEmbedder });
    expect(asked).toBe(0);
  });

  const wrong: readonly (readonly [string, World, string, string, string])[] = [
    [
      "demonstrations that are not there",
      { demonstrations: {}, policies: { p: contrast } },
      "policies/p.yaml:1",
      "demonstrations",
      "demos/d.jsonl",
    ],
    [
      "a demonstration without rejected response",
      { demonstrations: { d: `${paired}\n${unpaired}` }, policies: { p: contrast } },
      "policies/p.yaml:3",
      "score.negative",
      '"lone"',
    ],
    [
      "a demonstration without near negatives",
      { demonstrations: { d: paired }, policies: { p: contrast.replace("rejected", "near") } },
      "policies/p.yaml:3",
      "score.negative",
      "`icdpo demos negatives d` makes them",
    ],
    [
      "chat without a chat template",
      {
        policies: { p: `${plain}prompt: chat\n` },
        script: { capabilities: { chat: false, text: true, score: true, grammar: true, tools: null } },
      },
      "policies/p.yaml:2",
      "prompt",
      "template",
    ],
    [
      "a score on an engine without log-probabilities",
      {
        policies: { p: "shots: 1\nscore: { type: likelihood }\n" },
        script: { capabilities: { chat: true, text: true, score: false, grammar: true, tools: null } },
      },
      "policies/p.yaml:2",
      "score",
      "log-probabilities",
    ],
    [
      "a dialogue in synthetic-gpt",
      {
        policies: { p: `${contrast}prompt: synthetic-gpt\n` },
        demonstrations: {
          d: '{"id":"talk","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}],"chosen":"d","rejected":"e"}',
        },
      },
      "policies/p.yaml:4",
      "prompt",
      '"talk"',
    ],
    [
      "a route to no policy",
      { routes: "routes:\n  r: { policy: p }\n  s: { policy: gone }\n" },
      "policies/routes.yaml:3",
      "routes.s.policy",
      '"gone"',
    ],
    [
      "a default that is no route",
      { routes: "routes: { r: { policy: p } }\ndefault: gone\n" },
      "policies/routes.yaml:2",
      "default",
      '"gone"',
    ],
    [
      "an alias of no route",
      { routes: "routes: { r: { policy: p } }\naliases:\n  gpt-4o-mini: gone\n" },
      "policies/routes.yaml:3",
      "aliases.gpt-4o-mini",
      '"gone"',
    ],
  ];

  it.each(wrong)("is not made, and the field is named: %s", async (_, world, at, field, named) => {
    const said = await complaintOf(build(world));
    expect(said.startsWith(at.split(":")[0] as string)).toBe(true);
    expect(said).toContain(` ${field}: `);
    expect(said).toContain(named);
  });

  it.each(wrong)("is not made, and the line is named: %s", async (_, world, at) => {
    expect(await complaintOf(build(world))).toMatch(new RegExp(`^${at.replaceAll(".", "\\.")}: `, "u"));
  });

  it("does not mind a missing rejected response where the score is against near negatives", async () => {
    const set = { d: unpaired.replace(/\}$/u, ',"near":["Go."]}') };
    const made = await build({ policies: { p: contrast.replace("rejected", "near") }, demonstrations: set });
    expect(made.policies.get("p")?.demonstrations[0]?.near).toEqual(["Go."]);
  });

  it("does not mind a missing rejected response where the score is S", async () => {
    const byS = contrast.replace("rejected", "base");
    const set = await build({ policies: { p: byS }, demonstrations: { d: `${paired}\n${unpaired}` } });
    expect(set.policies.get("p")?.demonstrations).toHaveLength(2);
  });

  it("is not made where one policy of many is wrong", async () => {
    expect(await complaintOf(build({ policies: { p: plain, q: "shots: 2\n" } }))).toMatch(
      /^policies\/q\.yaml:1: score: /u,
    );
  });
});

describe("a policy's hash", () => {
  const idOf = async (world: World = {}) =>
    (await build({ policies: { p: contrast }, ...world })).policies.get("p")?.id;

  it("is 12 hex digits after the policy's name", async () => {
    expect(await idOf()).toMatch(/^p@[0-9a-f]{12}$/u);
  });

  it("is the same for the same policy, demonstrations and model, whatever else there is", async () => {
    const id = await idOf();
    expect(await idOf()).toBe(id);
    expect(await idOf({ policies: { p: contrast, q: plain }, demonstrations: { d: paired, e: unpaired } })).toBe(id);
  });

  it("does not change with comments or with defaults written out", async () => {
    expect(await idOf({ policies: { p: `# ours\n${contrast}shots: 2 # as in the paper\n` } })).toBe(await idOf());
  });

  it.each<[string, World]>([
    ["policy", { policies: { p: `${contrast}shots: 1\n` } }],
    ["sampling", { policies: { p: `${contrast}sampling: { top_p: 0.9 }\n` } }],
    ["demonstrations", { demonstrations: { d: paired.replace("Hello!", "Hello.") } }],
    ["model", { script: { model: "another" } }],
  ])("changes with the %s", async (_, world) => {
    expect(await idOf(world)).not.toBe(await idOf());
  });

  it("does not change with demonstrations that the policy does not use", async () => {
    const alone = async (text: string) => (await build({ demonstrations: { d: text } })).policies.get("p")?.id;
    expect(await alone(unpaired)).toBe(await alone(paired));
  });
});

describe("routes.yaml", () => {
  it.each([
    ["no routes", "default: r\n", /^policies\/routes\.yaml:1: routes: /u],
    ["an empty list of routes", "routes: {}\n", /^policies\/routes\.yaml:1: routes: at least one/u],
    ["an unknown field", "routes: { r: { policy: p } }\nalias: { a: r }\n", /^policies\/routes\.yaml:2: alias: /u],
    [
      "an unknown field of a route",
      "routes:\n  r:\n    policy: p\n    polcy: q\n",
      /^policies\/routes\.yaml:4: routes\.r\.polcy: /u,
    ],
    [
      "a name that no URL can hold",
      "routes:\n  r: { policy: p }\n  a b: { policy: p }\n",
      /^policies\/routes\.yaml:3: routes\.a b: /u,
    ],
  ])("names file, line and field: %s", (_, text, expected) => {
    expect(complaint(() => parseRoutes(text))).toMatch(expected);
  });
});

describe("which route a request takes", () => {
  const routes =
    "routes: { icdpo: { policy: one }, plain: { policy: two } }\naliases: { gpt-4o-mini: icdpo, plain: icdpo, team/model: plain }\n";
  const policies = { one: plain, two: plain };
  const set = () => build({ policies, routes });
  const withDefault = () => build({ policies, routes: `${routes}default: plain\n` });
  const notFound = (of: PolicySet, names: Parameters<typeof resolveRoute>[1]) => {
    try {
      return resolveRoute(of, names).name;
    } catch (error) {
      return error instanceof GatewayError ? error.code : error;
    }
  };

  it("is the path's, before the header's, before the model's", async () => {
    const routed = await set();
    expect(resolveRoute(routed, { path: "plain", header: "icdpo", model: "icdpo" })).toMatchObject({
      name: "plain",
      policy: { name: "two" },
    });
    expect(resolveRoute(routed, { header: "plain", model: "icdpo" })).toMatchObject({
      name: "plain",
      policy: { name: "two" },
    });
    expect(resolveRoute(routed, { model: "icdpo" })).toMatchObject({ name: "icdpo", policy: { name: "one" } });
  });

  it("may be named by an alias, wherever it is named", async () => {
    const routed = await set();
    for (const names of [{ model: "gpt-4o-mini" }, { header: "gpt-4o-mini" }, { path: "gpt-4o-mini" }])
      expect(resolveRoute(routed, names).name).toBe("icdpo");
    expect(resolveRoute(routed, { model: "team/model" }).name).toBe("plain");
  });

  it("is the route itself where an alias has the same name", async () => {
    expect(resolveRoute(await set(), { model: "plain" }).name).toBe("plain");
  });

  it("is not found for an unknown name, which is said with the names there are", async () => {
    const routed = await set();
    expect(() => resolveRoute(routed, { model: "gpt-9" })).toThrow(
      expect.objectContaining({
        code: "model_not_found",
        param: "model",
        message: expect.stringMatching(/gpt-9.*icdpo.*plain/u),
      }),
    );
  });

  it("is not found for an unknown path or header, even where the model is known", async () => {
    const routed = await set();
    expect(notFound(routed, { path: "gone", model: "icdpo" })).toBe("model_not_found");
    expect(notFound(routed, { header: "gone", model: "icdpo" })).toBe("model_not_found");
    expect(notFound(routed, { path: "gone", header: "icdpo", model: "icdpo" })).toBe("model_not_found");
  });

  it("is the default for unknown model names, and for those only", async () => {
    const routed = await withDefault();
    expect(resolveRoute(routed, { model: "gpt-9" })).toMatchObject({ name: "plain", policy: { name: "two" } });
    expect(resolveRoute(routed, { model: "icdpo" }).name).toBe("icdpo");
    expect(resolveRoute(routed, { model: "gpt-4o-mini" }).name).toBe("icdpo");
    expect(notFound(routed, { path: "gone", model: "icdpo" })).toBe("model_not_found");
    expect(notFound(routed, { header: "gone", model: "icdpo" })).toBe("model_not_found");
  });

  it.each(["", "constructor", "__proto__", "toString", " icdpo", "ICDPO"])("is not found for %j", async (model) => {
    expect(notFound(await set(), { model })).toBe("model_not_found");
  });
});

describe("a policy's id", () => {
  const retrieving = (type: string) =>
    `demonstrations: d\nretriever: { type: ${type} }\nshots: 1\nscore: { type: none }\n`;
  const idOf = async (policy: string, world: World = {}) => {
    const set = await build({ ...world, policies: { p: policy } });
    return set.policies.get("p")?.id;
  };
  const otherEmbedder: Embedder = { ...embedder, model: "words" };
  const capabilities = { chat: true, text: true, score: true, grammar: true, tools: null };

  it.each<[string, string, World, string, World]>([
    [
      "another embedder, where the retriever embeds",
      retrieving("embedding"),
      {},
      retrieving("embedding"),
      { embedder: otherEmbedder },
    ],
    [
      "another embedder, where it embeds in its second stage",
      retrieving("two-stage"),
      {},
      retrieving("two-stage"),
      { embedder: otherEmbedder },
    ],
    [
      "another context, which drops demonstrations",
      retrieving("bm25"),
      {},
      retrieving("bm25"),
      { script: { contextSize: 50 } },
    ],
    [
      "another context, whatever retrieves",
      retrieving("random"),
      {},
      retrieving("random"),
      { script: { contextSize: 50 } },
    ],
    ["another model", plain, {}, plain, { script: { model: "other" } }],
    [
      "a model that has lost its chat template",
      plain,
      {},
      plain,
      { script: { capabilities: { ...capabilities, chat: false } } },
    ],
    [
      "other demonstrations",
      retrieving("random"),
      {},
      retrieving("random"),
      { demonstrations: { d: `${paired}\n${unpaired}` } },
    ],
    ["another retriever", retrieving("random"), {}, retrieving("bm25"), {}],
    ["another window", retrieving("bm25"), {}, retrieving("bm25, window: 9"), {}],
    ["a least similarity", retrieving("embedding"), {}, retrieving("embedding, min_similarity: 0.3"), {}],
    ["marginal relevance", retrieving("two-stage"), {}, retrieving("two-stage, mmr: 0.7"), {}],
    ["another prompt format", plain, {}, `${plain}prompt: hh-rlhf\n`, {}],
    ["other sampling", plain, {}, `${plain}sampling: { temperature: 0.5 }\n`, {}],
    ["other instructions", plain, {}, `${plain}instructions: { positive: Be kind. }\n`, {}],
    ["a bypass", plain, {}, `${plain}bypass: { json: true }\n`, {}],
    ["a budget", plain, {}, `${plain}budget_ms: 50\n`, {}],
  ])("changes with %s", async (_, before, world, after, otherWorld) => {
    const [one, other] = [await idOf(before, world), await idOf(after, otherWorld)];
    expect(one).toMatch(/^p@[\da-f]{12}$/u);
    expect(other).toMatch(/^p@[\da-f]{12}$/u);
    expect(other).not.toBe(one);
  });

  it.each<[string, string, World, string, World]>([
    ["is built again", retrieving("two-stage"), {}, retrieving("two-stage"), {}],
    ["is described", plain, {}, `description: The plain one.\n${plain}`, {}],
    ["names the format that it had", plain, {}, `${plain}prompt: chat\n`, {}],
    [
      "has its demonstrations in another file",
      retrieving("random"),
      {},
      retrieving("random").replace(": d", ": e"),
      { demonstrations: { e: paired } },
    ],
    [
      "does not embed, and the embedder changes",
      retrieving("bm25"),
      {},
      retrieving("bm25"),
      { embedder: otherEmbedder },
    ],
    ["has no demonstrations that a context could drop", plain, {}, plain, { script: { contextSize: 50 } }],
  ])("stays where the policy %s", async (_, before, world, after, otherWorld) => {
    const one = await idOf(before, world);
    expect(one).toMatch(/^p@/u);
    expect(await idOf(after, otherWorld)).toBe(one);
  });

  it("of a changed request covers as much", async () => {
    const changed = async (world: World) => {
      const policy = (await build({ ...world, policies: { p: retrieving("two-stage") } })).policies.get("p");
      return (
        policy && [policy.id, (await overridden(policy, { shots: 2 })).id, (await overridden(policy, { shots: 1 })).id]
      );
    };
    const [own = "", two = "", one = ""] = (await changed({})) ?? [];
    expect(one).toBe(own);
    expect(two).not.toBe(own);
    const elsewhere = [
      ...((await changed({ embedder: otherEmbedder })) ?? []),
      ...((await changed({ script: { contextSize: 50 } })) ?? []),
    ];
    expect(new Set([own, two, ...elsewhere]).size).toBe(6);
  });
});
