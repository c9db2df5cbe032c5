/** @module The files of policies, routes and demonstrations, read and checked whole; nothing is built of them here. */
import type { Capabilities } from "../engine/engine.ts";
import type { ModelReference } from "../engine/engines.ts";
import { sha256HexAsync } from "../text/bytes.ts";
import type { Demonstration } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import { complaintAt, parseDemonstrations, parseYaml } from "./parse.ts";
import { contradiction, type Named, usedModels } from "./policy-models.ts";
import { parseRoutes } from "./routes.ts";
import type { Routes } from "./routes-schema.ts";
import { type PolicySettings, type PromptFormat, policySchema } from "./schema.ts";
import { rewardAsked } from "./score-schema.ts";

/** A set of demonstrations that is read when a policy needs it. */
export interface DemonstrationSource {
  /** SHA-256 of its lines, in hex. */
  hash(): Promise<string>;
  /** `file`: how complaints name it. Throws "configuration". */
  read(file: string): Promise<readonly Demonstration[]>;
}

/** Files by name without extension. */
export interface PolicyFiles {
  readonly policies: ReadonlyMap<string, string>;
  readonly routes: string;
  readonly demonstrations: ReadonlyMap<string, DemonstrationSource>;
}

/** Demonstrations of a file whose text is at hand. */
export function textFile(text: string): DemonstrationSource {
  return { hash: () => sha256HexAsync(text), read: (file) => parseDemonstrations(file, text) };
}

/** Demonstrations that are at hand; known by the hash that a file of them has. */
export function demonstrationSet(demonstrations: readonly Demonstration[]): DemonstrationSource {
  return {
    hash: () => sha256HexAsync(demonstrations.map((demonstration) => JSON.stringify(demonstration)).join("\n")),
    read: async () => demonstrations,
  };
}

export interface ParsedPolicy {
  readonly settings: PolicySettings;
  /** `auto` resolved. */
  readonly formats: Named<PromptFormat>;
  readonly demonstrations: readonly Demonstration[];
  /** Of the demonstration file; "" where there is none. */
  readonly hash: string;
}

export interface ParsedFiles {
  readonly policies: ReadonlyMap<string, ParsedPolicy>;
  readonly routes: Routes;
}

/** Throws "configuration" where there is no such model. */
export type CapabilitiesOf = (model: ModelReference, policy: string) => Promise<Capabilities>;

/** Which reward models there are. */
export type RewardNames = Pick<ReadonlyMap<string, unknown>, "has" | "keys">;

/**
 * Reads and checks all files without building anything. Throws "configuration" with a line for each complaint about any
 * of them.
 */
export async function parsePolicyFiles(
  files: PolicyFiles,
  capabilities: CapabilitiesOf,
  rewards: RewardNames = new Map(),
  load: (hash: string, read: () => Promise<readonly Demonstration[]>) => Promise<readonly Demonstration[]> = (
    _,
    read,
  ) => read(),
): Promise<ParsedFiles> {
  const complaints: string[] = [];
  const collect = (error: unknown): void => {
    if (!(error instanceof GatewayError) || error.code !== "configuration") throw error;
    complaints.push(...error.message.split("\n"));
  };
  const policies = new Map<string, ParsedPolicy>();
  for (const [name, text] of files.policies)
    await parsePolicy(`policies/${name}.yaml`, text, files, (model) => capabilities(model, name), rewards, load).then(
      (policy) => policies.set(name, policy),
      collect,
    );
  let routes: Routes | undefined;
  try {
    routes = parseRoutes(files.routes, files.policies);
  } catch (error) {
    collect(error);
  }
  if (routes === undefined || complaints.length > 0)
    throw new GatewayError("configuration", [...new Set(complaints)].join("\n"));
  return { policies, routes };
}

async function parsePolicy(
  file: string,
  text: string,
  files: PolicyFiles,
  capabilities: (model: ModelReference) => Promise<Capabilities>,
  rewards: RewardNames,
  load: (hash: string, read: () => Promise<readonly Demonstration[]>) => Promise<readonly Demonstration[]>,
): Promise<ParsedPolicy> {
  const settings = parseYaml(file, text, policySchema) as PolicySettings;
  const models = await usedModels(file, text, settings, capabilities);
  const asked = rewardAsked(settings.score);
  if (asked !== null && !rewards.has(asked.model))
    throw complaintAt(file, text, asked.path, noSuchReward(asked.model, rewards));
  const set = settings.demonstrations;
  const source = set === undefined ? undefined : files.demonstrations.get(set);
  if (set !== undefined && source === undefined)
    throw complaintAt(file, text, ["demonstrations"], `there is no demos/${set}.jsonl`);
  const hash = (await source?.hash()) ?? "";
  const demonstrations = source === undefined ? [] : await load(hash, () => source.read(`demos/${set}.jsonl`));
  const problem = contradiction(settings, models, demonstrations);
  if (problem !== null) throw complaintAt(file, text, problem.path, problem.reason);
  const { sampler, scorer, reference } = models;
  const formats = { sampler: sampler.format, scorer: scorer.format, reference: reference?.format ?? null };
  return { settings, formats, demonstrations, hash };
}

function noSuchReward(name: string, rewards: RewardNames): string {
  const known = [...rewards.keys()].join(", ") || "none";
  const remedy = "name it under rewards in the engines file (ICDPO_ENGINES, or engines.yaml in the working directory)";
  return `there is no reward model "${name}", but: ${known}; ${remedy}`;
}
