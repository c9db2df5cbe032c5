/** @module Policies and routes, built whole from the text of their files: a set is either good in every part or not made at all. */
import type { Engine } from "../engine/engine.ts";
import { bm25Retriever } from "../retrieval/bm25.ts";
import { embeddingRetriever } from "../retrieval/embedding.ts";
import { randomRetriever } from "../retrieval/random.ts";
import type { Embedder, Retriever } from "../retrieval/retriever.ts";
import { twoStageRetriever } from "../retrieval/two-stage.ts";
import type { Demonstration } from "../types/conversation.ts";
import type { GatewayError } from "../types/error.ts";
import { complaintAt, parseDemonstrations, parseYaml } from "./parse.ts";
import { type PolicySettings, type PromptFormat, policySchema, type RetrieverSettings, routesSchema } from "./schema.ts";

/** A policy as requests use it. */
export interface Policy {
  readonly name: string;
  /** `<name>@<12 hex digits of SHA-256 over the policy, its demonstration file and the model>`. */
  readonly id: string;
  readonly settings: PolicySettings;
  /** `auto` resolved. */
  readonly format: PromptFormat;
  readonly demonstrations: readonly Demonstration[];
  readonly retriever: Retriever | null;
}

export interface PolicySet {
  readonly policies: ReadonlyMap<string, Policy>;
  readonly routes: ReadonlyMap<string, Policy>;
  readonly defaultRoute: string | undefined;
  readonly aliases: ReadonlyMap<string, string>;
}

/** The text of the files, by name without extension. */
export interface PolicyFiles {
  readonly policies: ReadonlyMap<string, string>;
  readonly routes: string;
  readonly demonstrations: ReadonlyMap<string, string>;
}

export interface PolicyDependencies {
  readonly engine: Engine;
  /** Called when a policy first needs sentence embeddings. */
  readonly embedder: () => Promise<Embedder>;
}

/** An error about the field at a path. */
type Complain = (path: readonly string[], reason: string) => GatewayError;

/** Builds every policy and route. Throws "configuration", naming file, line and field. */
export async function buildPolicySet(files: PolicyFiles, dependencies: PolicyDependencies): Promise<PolicySet> {
  const sets = new Map<string, Demonstration[]>();
  for (const [name, text] of files.demonstrations) sets.set(name, parseDemonstrations(`demos/${name}.jsonl`, text));
  const retrievers = retrieverFactory(dependencies);
  const policies = new Map<string, Policy>();
  for (const [name, text] of files.policies) {
    const file = `policies/${name}.yaml`;
    const settings = parseYaml(file, text, policySchema) as PolicySettings;
    const complain: Complain = (path, reason) => complaintAt(file, text, path, reason);
    const demonstrations = demonstrationsOf(settings, sets, complain);
    const info = await dependencies.engine.info();
    const format = settings.prompt === "auto" ? (info.capabilities.chat ? "chat" : "hh-rlhf") : settings.prompt;
    checkPolicy(settings, format, demonstrations, info.capabilities, complain);
    const hash = await contentHash([JSON.stringify(settings), files.demonstrations.get(settings.demonstrations ?? "") ?? "", info.model]);
    const retriever = await retrievers(settings.retriever, settings.demonstrations ?? "", demonstrations);
    policies.set(name, { name, id: `${name}@${hash}`, settings, format, demonstrations, retriever });
  }
  return { policies, ...buildRoutes(files.routes, policies) };
}

function buildRoutes(text: string, policies: ReadonlyMap<string, Policy>): Omit<PolicySet, "policies"> {
  const file = "policies/routes.yaml";
  const parsed = parseYaml(file, text, routesSchema);
  const complain: Complain = (path, reason) => complaintAt(file, text, path, reason);
  const routes = new Map<string, Policy>();
  for (const [route, { policy: name }] of Object.entries(parsed.routes)) {
    const policy = policies.get(name);
    if (policy === undefined) throw complain(["routes", route, "policy"], `there is no policy "${name}" (policies/${name}.yaml)`);
    routes.set(route, policy);
  }
  const known = (field: readonly string[], route: string): void => {
    if (!routes.has(route)) throw complain(field, `there is no route "${route}"`);
  };
  if (parsed.default !== undefined) known(["default"], parsed.default);
  for (const [alias, route] of Object.entries(parsed.aliases)) known(["aliases", alias], route);
  return { routes, defaultRoute: parsed.default, aliases: new Map(Object.entries(parsed.aliases)) };
}

function demonstrationsOf(
  { demonstrations: set }: PolicySettings,
  sets: ReadonlyMap<string, Demonstration[]>,
  complain: Complain,
): Demonstration[] {
  if (set === undefined) return [];
  const demonstrations = sets.get(set);
  if (demonstrations === undefined) throw complain(["demonstrations"], `there is no demos/${set}.jsonl`);
  return demonstrations;
}

function checkPolicy(
  settings: PolicySettings,
  format: PromptFormat,
  demonstrations: readonly Demonstration[],
  capabilities: { readonly chat: boolean; readonly score: boolean },
  complain: Complain,
): void {
  const { score } = settings;
  if (format === "chat" && !capabilities.chat) throw complain(["prompt"], `the model has no chat template; use hh-rlhf or synthetic-gpt`);
  if (score.type !== "none" && !capabilities.score)
    throw complain(["score"], `this engine cannot return log-probabilities of given completions, which "${score.type}" needs`);
  const unpaired = demonstrations.find(({ rejected }) => rejected === undefined);
  if (score.type === "contrast" && score.negative === "rejected" && unpaired !== undefined)
    throw complain(["score", "negative"], `"rejected" needs a rejected response in every demonstration, and "${unpaired.id}" has none`);
  const dialogue = demonstrations.find(({ messages }) => messages.length > 1);
  if (format === "synthetic-gpt" && dialogue !== undefined)
    throw complain(
      ["prompt"],
      `synthetic-gpt takes single user messages, and the demonstration "${dialogue.id}" has ${dialogue.messages.length}`,
    );
}

/** Builds each retriever once, however many policies share it. */
function retrieverFactory({ engine, embedder }: PolicyDependencies) {
  const built = new Map<string, Promise<Retriever | null>>();
  return (settings: RetrieverSettings, set: string, demonstrations: readonly Demonstration[]): Promise<Retriever | null> => {
    const key = JSON.stringify([set, settings]);
    const retriever = built.get(key) ?? buildRetriever(settings, demonstrations);
    built.set(key, retriever);
    return retriever;
  };

  async function buildRetriever(settings: RetrieverSettings, demonstrations: readonly Demonstration[]): Promise<Retriever | null> {
    switch (settings.type) {
      case "none":
        return null;
      case "random":
        return randomRetriever(demonstrations);
      case "bm25":
        return bm25Retriever(demonstrations, engine, settings.window);
      case "embedding":
        return embeddingRetriever(demonstrations, await embedder());
      case "two-stage":
        return twoStageRetriever(demonstrations, engine, await embedder(), settings);
    }
  }
}

async function contentHash(parts: readonly string[]): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(parts)));
  return Array.from(new Uint8Array(digest).slice(0, 6), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
