/** @module A policy's variants for `icdpo tune`: read and checked without a model, then opened with them. */
import {
  buildPolicySet,
  type CapabilitiesOf,
  type Demonstration,
  GatewayError,
  type ParsedPolicy,
  type Policy,
  type PolicyFiles,
  type PolicySettings,
  parsePolicyFiles,
} from "icdpo-gateway/laboratory";
import { changedArm } from "../arms.ts";
import { contentHash } from "../cache.ts";
import type { VariantArm } from "../generators.ts";
import { readGrids, refuseHopeless } from "../tuning-grid.ts";
import { plainVariant, startVariant, type Variant, variantOf } from "../variants.ts";
import type { Run } from "./run.ts";

export interface ParsedVariant extends Variant, Pick<ParsedPolicy, "settings" | "formats"> {}

export interface ParsedVariants {
  readonly files: PolicyFiles;
  readonly name: string;
  readonly start: ParsedVariant;
  /** The start itself, where that is plain. */
  readonly plain: ParsedVariant;
  /** Start and plain first; no two are the same policy. */
  readonly all: readonly ParsedVariant[];
  /** Combinations of the grid that no policy can have. */
  readonly leftOut: readonly { readonly label: string; readonly reason: string }[];
}

export interface GridFile {
  readonly file: string;
  readonly text: string;
  /** It comes with the program: what an engine has not is left out of it. */
  readonly isOurs: boolean;
}

export interface VariantSources {
  /** The policy to start from, one of the files. */
  readonly name: string;
  readonly files: PolicyFiles;
  readonly grid: GridFile;
  /** Another prompt format to start with. */
  readonly prompt?: PolicySettings["prompt"] | undefined;
}

/**
 * Throws "configuration" where the policy or the grid is wrong, by file and line, or a value of a grid that is
 * not ours goes with no other one.
 */
export async function parseVariants(
  models: Pick<Run["models"], "engines" | "rewards">,
  { name, files, grid, prompt }: VariantSources,
): Promise<ParsedVariants> {
  const combinations = readGrids(grid.file, grid.text);
  const parse = parserOf(models, files, name);
  const text = files.policies.get(name) as string;
  const written = prompt === undefined ? startVariant(text) : startVariant(variantOf(text, { prompt }).text);
  const start = await parse(written);
  const known = new Map([[identityOf(start), start]]);
  const keep = (one: Parsed): Parsed => {
    const identity = identityOf(one);
    const same = known.get(identity) ?? one;
    known.set(identity, same);
    return same;
  };
  const plain = keep(await parse(plainVariant(written.text)));
  const leftOut: { label: string; reason: string }[] = [];
  const reasons: (string | null)[] = [];
  for (const { changes } of combinations) {
    const reason = await refusalOf(async () => void keep(await parse(variantOf(written.text, changes))));
    reasons.push(reason);
    if (reason !== null) leftOut.push({ label: JSON.stringify(changes), reason });
  }
  if (!grid.isOurs) refuseHopeless(grid.file, grid.text, combinations, reasons);
  return { files, name, start, plain, all: [...known.values()], leftOut };
}

type Parsed = ParsedVariant & Pick<ParsedPolicy, "hash">;

/** Capabilities are those that the engines file declares: no model is begun. */
function parserOf({ engines, rewards }: Pick<Run["models"], "engines" | "rewards">, files: PolicyFiles, name: string) {
  const sets = new Map<string, Promise<readonly Demonstration[]>>();
  const load = (hash: string, read: () => Promise<readonly Demonstration[]>): Promise<readonly Demonstration[]> => {
    const set = sets.get(hash) ?? read();
    sets.set(hash, set);
    return set;
  };
  const capabilities: CapabilitiesOf = (model) => engines.declared(model);
  return async (variant: Variant): Promise<Parsed> => {
    const own = { ...files, policies: new Map([[name, variant.text]]) };
    const { policies } = await parsePolicyFiles(own, capabilities, rewards, load);
    return { ...variant, ...(policies.get(name) as ParsedPolicy) };
  };
}

/** What is wrong with it, without the place in a file that nobody has written; null: nothing. */
async function refusalOf(work: () => Promise<void>): Promise<string | null> {
  try {
    await work();
    return null;
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code !== "configuration") throw error;
    return (error.message.split("\n")[0] ?? "").replace(/^\S+\.yaml:\d+: /u, "");
  }
}

/** The same, the same answers. */
function identityOf({ settings, formats, hash }: Parsed): string {
  const { description, demonstrations, prompt, ...effective } = settings;
  return contentHash([effective, formats, hash]);
}

/** `[variants]`, with their models. Those that the models make the same policy come once. */
export async function openVariants(
  models: Pick<Run["models"], "engines" | "rewards" | "embedder" | "whenReachable">,
  { files, name, all }: ParsedVariants,
  maxTokens: number | undefined,
): Promise<VariantArm[]> {
  const named = new Map(all.map((variant, i) => [`${name}-${i}`, variant]));
  const texts = new Map([...named].map(([key, { text }]) => [key, text]));
  const routes = JSON.stringify({ routes: Object.fromEntries([...named.keys()].map((key) => [key, { policy: key }])) });
  const { policies } = await models.whenReachable(() =>
    buildPolicySet({ ...files, policies: texts, routes }, models, [...named.keys()]),
  );
  const arms = await Promise.all(
    [...named].map(async ([key, variant]) => {
      const policy = renamed(policies.get(key) as Policy, name);
      return { ...variant, arm: await changedArm({ name: variant.label, policy }, { maxTokens }) };
    }),
  );
  const ids = arms.map(({ arm }) => arm.policy.id);
  return arms.filter(({ arm }, i) => ids.indexOf(arm.policy.id) === i);
}

/** What is kept of a variant's answers does not depend on its place in a grid. */
function renamed(policy: Policy, name: string): Policy {
  return { ...policy, name, id: policy.id.replace(/^.*@/u, `${name}@`) };
}
