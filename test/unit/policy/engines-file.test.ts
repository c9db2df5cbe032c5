/** The engines file, and policies that name more than one model. */
import { describe, expect, it, vi } from "vitest";
import type { Engine } from "../../../src/engine/engine.ts";
import type { Engines, ModelReference } from "../../../src/engine/engines.ts";
import { buildPolicySet, PolicyBuilder } from "../../../src/policy/build.ts";
import {
  declaredBy,
  type EngineDefinitions,
  engineDefinition,
  parseEngines,
  parseRewards,
  remoteSettings,
  rewardSettings,
} from "../../../src/policy/engines-file.ts";
import { type PolicyFiles, textFile } from "../../../src/policy/parsed-policies.ts";
import { ScriptedEngine } from "../scripted-engine.ts";

const parse = (text: string, environment: Record<string, string> = {}): EngineDefinitions =>
  parseEngines("engines.yaml", text, environment);

describe("reward models in the engines file", () => {
  const text = (more: string) => `engines: {}\nrewards:\n${more}`;
  const parseOne = (definition: string, environment: Record<string, string> = {}) => {
    const found = parseRewards("engines.yaml", text(`  judge: ${definition}`), environment).get("judge");
    if (found === undefined || found.type === "llama") throw new Error("there is none of a server");
    return rewardSettings(found, environment);
  };

  it("are none where it names none", () => {
    expect([...parseRewards("engines.yaml", "engines: {}", {})]).toEqual([]);
    expect([...parse(text("  judge: { type: http, urls: [http://a/v1] }")).keys()]).toEqual(["default"]);
  });

  it("are called at their whole URLs, or behind vLLM's base URLs, as engines are", () => {
    const environment = { KEY: "secret", HOST: "b" };
    expect(
      parseOne(`{ type: http, urls: ['http://\${HOST}/v1'], key_variable: KEY, headers: { X-A: b } }`, environment),
    ).toEqual({
      urls: ["http://b/v1"],
      apiKey: "secret",
      headers: { "x-a": "b" },
      timeoutMs: 60_000,
      retries: 2,
    });
    expect(
      parseOne("{ type: classify, urls: [http://a/v1, http://a/classify], model: rm, timeout_ms: 9, retries: 0 }"),
    ).toMatchObject({ urls: ["http://a", "http://a"], model: "rm", timeoutMs: 9, retries: 0 });
  });

  it("may be files with a ranking head, and how these are read", () => {
    const read = (definition: string) => parseRewards("engines.yaml", text(`  own: ${definition}`), {}).get("own");
    expect(read("{ type: llama, model: reward.gguf }")).toEqual({ type: "llama", model: "reward.gguf" });
    const template = '"Q: {{query}} A: {{document}}"';
    expect(read(`{ type: llama, model: hf:a/b, template: ${template}, context_size: 512, threads: 2 }`)).toEqual({
      type: "llama",
      model: "hf:a/b",
      template: "Q: {{query}} A: {{document}}",
      context_size: 512,
      threads: 2,
    });
  });

  it.each([
    ["  judge: { type: llama }", "engines.yaml:3: rewards.judge.model"],
    [
      '  judge: { type: llama, model: a.gguf, template: "{{query}}" }',
      "rewards.judge.template: must hold {{query}} and {{document}}",
    ],
    ["  judge: { type: llama, model: a.gguf, urls: [http://a] }", "rewards.judge.urls: Unrecognized key"],
    ["  judge: { type: http, urls: [] }", "engines.yaml:3: rewards.judge.urls"],
    ["  judge: { type: http, urls: [ftp://a] }", "engines.yaml:3: rewards.judge.urls.0"],
    ["  judge: { type: gguf, urls: [http://a] }", "engines.yaml:3: rewards.judge.type"],
    [
      "  judge:\n    type: http\n    urls: [http://a]\n    model: rm",
      "engines.yaml:6: rewards.judge.model: Unrecognized key",
    ],
    ["  ju dge: { type: http, urls: [http://a] }", "engines.yaml:3: rewards.ju dge"],
  ])("are refused by line and field: %j", (more, complaint) => {
    expect(() => parseRewards("engines.yaml", text(more), {})).toThrow(complaint);
  });

  it("need the variable of their key when they are opened", () => {
    const definition = "{ type: http, urls: [http://a], key_variable: KEY }";
    expect(() => parseOne(definition)).toThrow("http://a needs an API key: set the environment variable KEY.");
  });
});

describe("the engines file", () => {
  it("has the embedded engine as default, unless it names another", () => {
    expect(parse("engines: {}").get("default")).toEqual({ type: "llama", adapters: {} });
    expect(parse("engines: { default: { type: vllm, urls: [http://a:8000] } }").get("default")).toMatchObject({
      type: "vllm",
    });
  });

  it("takes base URLs with and without /v1", () => {
    const text = "engines: { x: { type: vllm, urls: [http://a:8000/v1, 'http://b:8000/', http://c/llm/v1/] } }";
    expect(parse(text).get("x")).toMatchObject({ urls: ["http://a:8000", "http://b:8000", "http://c/llm"] });
  });

  it("puts in variables of the environment", () => {
    const text = `engines: { x: { type: openai, urls: ['\${URL}'], model: '\${MODEL:-small}' } }`;
    expect(parse(text, { URL: "https://api.example/v1" }).get("x")).toMatchObject({
      urls: ["https://api.example"],
      model: "small",
    });
    expect(parse(text, { URL: "https://api.example", MODEL: "big" }).get("x")).toMatchObject({ model: "big" });
  });

  it.each([
    [
      `engines:\n  x: { type: vllm, urls: ['\${URL}'] }`,
      "engines.yaml:2: engines.x.urls.0: the environment variable URL is not set",
    ],
    [
      "engines:\n  x:\n    type: vllm\n    urls: [http://a]\n    sise: 1",
      "engines.yaml:5: engines.x.sise: Unrecognized key",
    ],
    ["engines:\n  x: { type: openai, urls: [http://a] }", "engines.yaml:2: engines.x.model"],
    ["engines:\n  x: { type: vllm, urls: [a] }", "engines.yaml:2: engines.x.urls.0"],
    ["engines:\n  x: { type: vllm, urls: [] }", "engines.yaml:2: engines.x.urls"],
  ])("says what is wrong, by line and field: %j", (text, complaint) => {
    expect(() => parse(text)).toThrow(complaint);
  });

  it("gives an adapter the name that the server has for it, and the key from its variable alone", () => {
    const text =
      "engines: { x: { type: vllm, urls: [http://a], model: base, adapters: { sft: base-sft }, key_variable: KEY } }";
    const definition = engineDefinition(parse(text), { engine: "x", adapter: "sft" });
    if (definition.type === "llama") throw new Error("not remote");
    expect(remoteSettings(definition, "sft", { KEY: "secret" })).toMatchObject({ model: "base-sft", apiKey: "secret" });
    expect(remoteSettings(definition, undefined, { KEY: "secret" })).toMatchObject({ model: "base" });
    expect(() => remoteSettings(definition, undefined, {})).toThrow(
      "http://a needs an API key: set the environment variable KEY",
    );
  });
});

const files = (policy: string, more: Record<string, string> = {}): PolicyFiles => ({
  policies: new Map(Object.entries({ p: policy, ...more })),
  routes: "routes: { r: { policy: p } }\n",
  demonstrations: new Map([
    ["d", textFile('{"id":"a","messages":[{"role":"user","content":"Hi"}],"chosen":"Hello!","rejected":"What."}')],
  ]),
});

/** Engines of a file, none of which is begun before it is asked for. */
function scriptedEngines(text: string, engines: Record<string, Engine> = {}): Engines & { readonly opened: string[] } {
  const definitions = parse(text);
  const opened: string[] = [];
  return {
    opened,
    declared: declaredBy(definitions),
    async open(model: ModelReference) {
      engineDefinition(definitions, model);
      const name = [model.engine, model.adapter].filter((part) => part !== undefined).join("+");
      opened.push(name);
      engines[name] ??= new ScriptedEngine({ model: name });
      return engines[name];
    },
  };
}

const build = (policy: string, engines: Engines, more?: Record<string, string>, also?: string) =>
  buildPolicySet(
    files(policy, more),
    { engines, embedder: () => Promise.reject(new Error("not needed")) },
    also === undefined ? [] : [also],
  );

const plain = "score: { type: none }\n";
const two =
  "engines: { default: { type: llama, adapters: { dpo: dpo.gguf } }, teacher: { type: llama }, chat: { type: openai, urls: [http://a], model: m } }";

describe("a policy's models", () => {
  it("are one, unless it names more", async () => {
    const policy = (await build(plain, scriptedEngines(two))).policies.get("p");
    expect(policy?.scorer).toBe(policy?.sampler);
    expect(policy?.reference).toBeNull();
    expect(policy?.source.model).toBe("default");
  });

  it("are a sampler and a teacher that scores", async () => {
    const policy = (await build("scorer: teacher\nscore: { type: likelihood }\n", scriptedEngines(two))).policies.get(
      "p",
    );
    expect(await policy?.scorer.engine.info()).toMatchObject({ model: "teacher" });
    expect(policy?.source.model).toBe('["default","teacher",null]');
  });

  it("are a tuned model and its base, where a score is measured against that", async () => {
    const text = "adapter: dpo\nscore: { type: contrast, negative: reference, normalize: token }\n";
    const policy = (await build(text, scriptedEngines(two))).policies.get("p");
    expect(await policy?.sampler.engine.info()).toMatchObject({ model: "default+dpo" });
    expect(policy?.scorer).toBe(policy?.sampler);
    expect(await policy?.reference?.engine.info()).toMatchObject({ model: "default" });
  });

  it("are begun only for policies that serve a route, or are asked for", async () => {
    const engines = scriptedEngines(two);
    const more = { taught: "scorer: teacher\nscore: { type: likelihood }\n" };
    expect([...(await build(plain, engines, more)).policies.keys()]).toEqual(["p"]);
    expect(new Set(engines.opened)).toEqual(new Set(["default"]));
    expect([...(await build(plain, engines, more, "taught")).policies.keys()]).toEqual(["p", "taught"]);
    expect(new Set(engines.opened)).toEqual(new Set(["default", "teacher"]));
  });

  it("retrieve with the engine that they name now, not with another of the same weights", async () => {
    const [first, second] = [new ScriptedEngine({ model: "same" }), new ScriptedEngine({ model: "same" })];
    const engines = scriptedEngines(two, { default: first, teacher: second });
    const builder = new PolicyBuilder({ engines, embedder: () => Promise.reject(new Error("not needed")) });
    const retrieving = "demonstrations: d\nretriever: { type: bm25 }\nscore: { type: likelihood }\n";
    await builder.build(files(retrieving));
    const policy = (await builder.build(files(`engine: teacher\n${retrieving}`))).policies.get("p");
    const asked = [vi.spyOn(first, "tokenize"), vi.spyOn(second, "tokenize")];
    await policy?.retriever?.retrieve([{ role: "user", content: "Hi" }], { shots: 1, random: () => 0 });
    expect(asked.map(({ mock }) => mock.calls.length > 0)).toEqual([false, true]);
  });

  it("prompt each by the format it knows", async () => {
    const base = new ScriptedEngine({
      capabilities: { chat: false, text: true, score: true, grammar: true, tools: null },
    });
    const engines = scriptedEngines(two, { teacher: base });
    const policy = (await build("scorer: teacher\nscore: { type: likelihood }\n", engines)).policies.get("p");
    expect([policy?.sampler.format, policy?.scorer.format]).toEqual(["chat", "hh-rlhf"]);
  });

  const chatOnly = new ScriptedEngine({
    capabilities: { chat: true, text: false, score: false, grammar: false, tools: null },
  });
  it.each([
    [
      "engine: other\nscore: { type: none }\n",
      'policies/p.yaml:1: engine: there is no engine "other"; known: default, teacher, chat.',
    ],
    [
      "score: { type: none }\nadapter: sft\n",
      'policies/p.yaml:2: adapter: the engine "default" has no adapter "sft"; known: dpo',
    ],
    [
      "score: { type: likelihood }\nscorer: { adapter: sft }\n",
      'policies/p.yaml:2: scorer: the engine "default" has no adapter "sft"',
    ],
    ["scorer: teacher\nscore: { type: none }\n", "policies/p.yaml:1: scorer: this policy has no score"],
    [
      "score: { type: contrast, negative: reference }\n",
      "policies/p.yaml:1: reference: negative: reference measures one model against another",
    ],
    [
      "score: { type: likelihood }\nreference: teacher\n",
      "policies/p.yaml:2: reference: only a contrast with negative: reference needs it",
    ],
    [
      "engine: chat\ninstructions: {}\nscore: { type: contrast, negative: base }\n",
      "policies/p.yaml:3: score: this engine cannot return log-probabilities",
    ],
    [
      "scorer: chat\nscore: { type: likelihood }\n",
      "policies/p.yaml:2: score: this engine cannot return log-probabilities",
    ],
    [
      "engine: chat\nprompt: hh-rlhf\nscore: { type: none }\n",
      "policies/p.yaml:2: prompt: this engine takes chat messages only",
    ],
  ])("are refused by line and field where they do not fit: %j", async (policy, complaint) => {
    await expect(build(policy, scriptedEngines(two, { chat: chatOnly }))).rejects.toThrow(complaint);
    // What no route needs is checked as well, without being begun.
    await expect(build(plain, scriptedEngines(two), { other: policy })).rejects.toThrow(
      complaint.replace("policies/p", "policies/other"),
    );
  });
});
