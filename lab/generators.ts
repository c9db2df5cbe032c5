/** @module Variants that choose among the same samples: each prompt is sampled once for all of a generator's. */
import { mostCandidates, type PolicySettings, type PromptFormat } from "icdpo-gateway/laboratory";
import type { Arm } from "./arms.ts";
import { contentHash } from "./cache.ts";
import type { Variant } from "./variants.ts";

/** A variant that can answer. */
export interface VariantArm extends Variant {
  readonly arm: Arm;
}

/** Its id: what is kept of a variant goes by it. */
export function policyOf({ arm }: VariantArm): string {
  return arm.policy.id;
}

export interface Generator {
  /** What its samples depend on. */
  readonly key: string;
  /** Those that ask for the most samples first: the others find theirs among them. */
  readonly variants: readonly VariantArm[];
}

/** Fields by which the score takes part while answers are sampled. */
const steering = new Set(["block", "prune", "decode"]);

/** The same key, the same samples: score and number of candidates are left out, where they only choose. */
export function generatorKey(settings: PolicySettings, format: PromptFormat): string {
  const { description, prompt, score, candidates, ...sampling } = settings;
  const isSteered = Object.entries(settings).some(([field, value]) => steering.has(field) && value !== undefined);
  return contentHash(isSteered ? [sampling, format, score, candidates] : [sampling, format]);
}

export function generatorsOf(variants: readonly VariantArm[]): Generator[] {
  const groups = new Map<string, VariantArm[]>();
  for (const variant of variants) {
    const { settings, sampler } = variant.arm.policy;
    const key = generatorKey(settings, sampler.format);
    groups.set(key, [...(groups.get(key) ?? []), variant]);
  }
  const sampled = ({ arm }: VariantArm): number => mostCandidates(arm.policy.settings.candidates);
  return [...groups].map(([key, own]) => ({ key, variants: own.toSorted((a, b) => sampled(b) - sampled(a)) }));
}
