/** @module The engines file: which models there are, by name, for policies to sample from and to score with. */
import { z } from "zod";
import type { Capabilities } from "../engine/engine.ts";
import type { ModelReference, RemoteSettings } from "../engine/engines.ts";
import { lackedBy, takenFields } from "../engine/taken-fields.ts";
import { GatewayError } from "../types/error.ts";
import { parseYaml } from "./parse.ts";

const name = z.string().regex(/^[\w.-]+$/u, "may hold letters, digits, '.', '_' and '-'");
const count = z.int().min(1);

/** Ends neither in a slash nor in /v1. */
const baseUrl = z.url({ protocol: /^https?$/u }).transform((url) => url.replace(/\/+$/u, "").replace(/\/v1$/u, ""));

const llamaSchema = z.strictObject({
  type: z.literal("llama"),
  model: z.string().min(1).optional().describe("a GGUF file or hf: URI; absent: ICDPO_MODEL, or the default model"),
  adapters: z
    .record(name, z.string().min(1))
    .default({})
    .describe("LoRA adapters by name: GGUF files; each takes a context of its own"),
  chat_template: z.string().min(1).optional().describe("a file: the Jinja template to use in place of the model's own"),
  context_size: count.optional(),
  sequences: count.optional(),
  threads: count.optional(),
});

/** How a server is called, whatever it is asked. */
const called = {
  key_variable: z.string().min(1).optional().describe("the environment variable that holds the API key"),
  headers: z
    .record(
      z.string().regex(/^[\w-]+$/u, "must be a header's name"),
      z.string().regex(/^[\x20-\x7e]*$/u, "may hold ASCII only"),
    )
    .default({})
    .describe(
      "headers that every call has, for what stands before the server; variables of the environment keep secrets out of the file",
    ),
  timeout_ms: count.default(60_000).describe("a server that sends nothing for so long is taken for dead"),
  retries: z.int().min(0).default(2).describe("of calls that failed for a reason that may pass"),
};

const remote = {
  urls: z.array(baseUrl).min(1).describe("base URLs of equal replicas"),
  model: z.string().min(1).optional().describe("the model's name there; absent: the first that the server lists"),
  adapters: z
    .record(name, z.string().min(1))
    .default({})
    .describe("adapters by name: the names that the server serves them under"),
  ...called,
  context_size: count
    .optional()
    .describe("tokens of a prompt and its completion together, where the server does not say"),
  prefix_cache: z
    .enum(["separate", "shared"])
    .default("separate")
    .describe(
      "several tenants, the server's cache: each has its own, demonstrations included; or one for all, whose speed tells of others' prompts",
    ),
};

const takes = z
  .array(z.enum(takenFields))
  .default([])
  .describe("fields that the service takes beside OpenAI's; requests for what it does not take are refused");

const rewardSchema = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("llama"),
    model: z.string().min(1).describe("a GGUF file or hf: URI of a model with a ranking head"),
    template: z
      .string()
      .refine((text) => text.includes("{{query}}") && text.includes("{{document}}"), {
        message: "must hold {{query}} and {{document}}",
      })
      .optional()
      .describe("what the model reads, with {{query}} and {{document}}; absent: as its file says"),
    context_size: count
      .optional()
      .describe(
        "tokens of a conversation and a response together; absent: what the model was trained with, at most 4096",
      ),
    threads: count.optional(),
  }),
  z.strictObject({
    type: z.literal("http"),
    urls: z
      .array(z.url({ protocol: /^https?$/u }))
      .min(1)
      .describe("of equal replicas: POST {messages, response} is answered with {reward}"),
    ...called,
  }),
  z.strictObject({
    type: z.literal("classify"),
    urls: z
      .array(baseUrl.transform((url) => url.replace(/\/classify$/u, "")))
      .min(1)
      .describe("base URLs of equal replicas: vLLM's, which answer /classify"),
    model: z.string().min(1).optional().describe("the model's name there; absent: the only one"),
    ...called,
  }),
]);

export const enginesSchema = z.strictObject({
  engines: z.record(
    name,
    z.discriminatedUnion("type", [
      llamaSchema,
      z.strictObject({ type: z.literal("vllm"), ...remote }),
      z.strictObject({ type: z.literal("llama-server"), ...remote }),
      z.strictObject({ type: z.literal("llama-cpp-python"), ...remote }),
      z.strictObject({ type: z.literal("openai"), ...remote, model: remote.model.unwrap(), takes }),
    ]),
  ),
  rewards: z.record(name, rewardSchema).default({}).describe("reward models by name, which policies score with"),
});

export type EngineDefinition = z.output<typeof enginesSchema>["engines"][string];
export type LlamaDefinition = Extract<EngineDefinition, { type: "llama" }>;
export type RemoteDefinition = Exclude<EngineDefinition, LlamaDefinition>;
export type EngineDefinitions = ReadonlyMap<string, EngineDefinition>;

export type RewardDefinition = z.output<typeof rewardSchema>;
export type LlamaRewardDefinition = Extract<RewardDefinition, { type: "llama" }>;
export type RemoteRewardDefinition = Exclude<RewardDefinition, LlamaRewardDefinition>;
export type RewardDefinitions = ReadonlyMap<string, RewardDefinition>;

/** What policies use that name no engine. */
export const defaultEngine = "default";

type Environment = Readonly<Record<string, string | undefined>>;

/** Strings may hold `${VARIABLE}` and `${VARIABLE:-otherwise}`. Throws "configuration", naming file, line and field. */
export function parseEngines(file: string, text: string, environment: Environment): EngineDefinitions {
  return withDefault(new Map(Object.entries(parseFile(file, text, environment).engines)));
}

/** The reward models of the same file. Throws as `parseEngines` does. */
export function parseRewards(file: string, text: string, environment: Environment): RewardDefinitions {
  return new Map(Object.entries(parseFile(file, text, environment).rewards));
}

function parseFile(file: string, text: string, environment: Environment): z.output<typeof enginesSchema> {
  const schema = z.preprocess((value, context) => {
    const complain = (path: readonly PropertyKey[], message: string) =>
      context.issues.push({ code: "custom", input: value, path: [...path], message });
    return interpolated(value, environment, [], complain);
  }, enginesSchema);
  return parseYaml(file, text, schema);
}

/** The embedded engine, where no other is the default. */
export function withDefault(definitions: EngineDefinitions): EngineDefinitions {
  const embedded: EngineDefinition = { type: "llama", adapters: {} };
  return definitions.has(defaultEngine) ? definitions : new Map([[defaultEngine, embedded], ...definitions]);
}

function interpolated(
  value: unknown,
  environment: Environment,
  path: readonly PropertyKey[],
  complain: (path: readonly PropertyKey[], message: string) => void,
): unknown {
  const inner = (field: unknown, key: PropertyKey): unknown =>
    interpolated(field, environment, [...path, key], complain);
  if (Array.isArray(value)) return value.map(inner);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, inner(field, key)]));
  if (typeof value !== "string") return value;
  return value.replace(/\$\{(\w+)(?::-([^}]*))?\}/gu, (_, variable: string, otherwise: string | undefined) => {
    const found = environment[variable] || otherwise;
    if (found === undefined) complain(path, `the environment variable ${variable} is not set`);
    return found ?? "";
  });
}

/** Throws "configuration" where there is no such engine, or it has no such adapter. */
export function engineDefinition(
  definitions: EngineDefinitions,
  { engine, adapter }: ModelReference,
): EngineDefinition {
  const definition = definitions.get(engine);
  const known = (names: Iterable<string>): string => [...names].join(", ") || "none";
  if (definition === undefined) {
    const remedy = "Engines are named in the engines file (ICDPO_ENGINES, or engines.yaml in the working directory).";
    throw new GatewayError(
      "configuration",
      `there is no engine "${engine}"; known: ${known(definitions.keys())}. ${remedy}`,
    );
  }
  if (adapter !== undefined && !Object.hasOwn(definition.adapters, adapter))
    throw new GatewayError(
      "configuration",
      `the engine "${engine}" has no adapter "${adapter}"; known: ${known(Object.keys(definition.adapters))}`,
    );
  return definition;
}

/** An adapter is a model of another name. Throws "configuration" where the key's variable is not set. */
export function remoteSettings(
  definition: RemoteDefinition,
  adapter: string | undefined,
  environment: Environment,
): RemoteSettings {
  const { model, adapters, context_size: contextSize, prefix_cache: prefixCache } = definition;
  return {
    ...callSettings(definition, environment),
    model: adapter === undefined ? model : adapters[adapter],
    contextSize,
    prefixCache,
    ...(definition.type === "openai" && { takes: definition.takes }),
  };
}

/** Throws as `remoteSettings` does. */
export function rewardSettings(definition: RemoteRewardDefinition, environment: Environment): RemoteSettings {
  const settings = callSettings(definition, environment);
  return definition.type === "classify" ? { ...settings, model: definition.model } : settings;
}

function callSettings(
  {
    urls,
    key_variable: variable,
    headers,
    timeout_ms: timeoutMs,
    retries,
  }: Pick<RemoteDefinition, "urls" | keyof typeof called>,
  environment: Environment,
): RemoteSettings {
  const apiKey = variable === undefined ? undefined : environment[variable];
  if (variable !== undefined && !apiKey)
    throw new GatewayError(
      "configuration",
      `${urls.join(", ")} needs an API key: set the environment variable ${variable}.`,
    );
  return { urls, apiKey, headers: lowerCase(headers), timeoutMs, retries };
}

/** So that none is said twice. */
function lowerCase(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([header, value]) => [header.toLowerCase(), value]));
}

/** The capabilities of models that nobody has opened. */
export function declaredBy(definitions: EngineDefinitions): (model: ModelReference) => Promise<Capabilities> {
  return async (model) => declaredCapabilities(engineDefinition(definitions, model));
}

/** What an engine can do before anybody has asked it: the best that its kind can. */
export function declaredCapabilities(definition: EngineDefinition): Capabilities {
  if (definition.type !== "openai")
    return {
      chat: true,
      text: true,
      score: true,
      grammar: true,
      tools: null,
      ...(definition.type === "llama" && { contrast: true }),
    };
  const lacks = lackedBy(new Set(definition.takes));
  return { chat: true, text: false, score: false, grammar: false, tools: null, lacks };
}
