/** @module The prompts that answers are measured on: read, drawn, and held apart from the demonstrations. */
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type Command, Option } from "commander";
import { candidateSeed, GatewayError, whole } from "icdpo-gateway/laboratory";
import type { Arm } from "../arms.ts";
import { contentHash } from "../cache.ts";
import { readPrompts } from "../checked-prompts.ts";
import { type Nearest, nearestDemonstrations } from "../cosines.ts";
import type { AskedPrompt } from "../pool-rows.ts";
import { shuffled } from "../statistics.ts";
import { fixed } from "../tables.ts";
import type { Run } from "./run.ts";

export interface PromptOptions {
  /** `label=file` */
  readonly prompts: readonly string[];
  /** Of each set. */
  readonly limit?: number;
  readonly seed: number;
  readonly strict?: boolean;
}

export function addPromptOptions(command: Command): Command {
  const repeated = (text: string, before: readonly string[]): readonly string[] => [...before, text];
  return command
    .addOption(
      new Option("--prompts <label=file>", "prompts with checks or references, JSONL; again for another set")
        .argParser(repeated)
        .default([], "the project's own"),
    )
    .option("--limit <number>", "of each set, drawn without replacement (default: all)", whole)
    .option("--strict", "fail where a prompt is not held apart from the demonstrations");
}

const ownPrompts = fileURLToPath(new URL("../../prompts/", import.meta.url));
const defaultPrompts = ["everyday", "open"].map((name) => `${name}=${path.join(ownPrompts, `${name}-checks.jsonl`)}`);

/** Of each set the first of a drawn order: a larger limit begins with the same ones. Throws "configuration". */
export async function readAll({ prompts: given, limit, seed }: PromptOptions): Promise<AskedPrompt[]> {
  const sets = new Map<string, AskedPrompt[]>();
  for (const spec of given.length > 0 ? given : defaultPrompts) {
    const [, label, file = spec] = /^([^=/]+)=(.+)$/u.exec(spec) ?? [];
    const set = label ?? path.basename(file, ".jsonl");
    if (sets.has(set))
      throw new GatewayError("invalid_request", `Two sets are called "${set}": name them (--prompts name=file).`);
    const all = await readPrompts(file);
    const drawn = shuffled(all.length, seed).slice(0, limit ?? all.length);
    sets.set(
      set,
      drawn.flatMap((index) => {
        const prompt = all[index];
        // By the prompt alone, wherever it stands in a file.
        const own = prompt && candidateSeed(seed, Number.parseInt(contentHash(prompt.messages).slice(0, 8), 16));
        return prompt === undefined || own === undefined ? [] : [{ ...prompt, set, seed: own }];
      }),
    );
  }
  return [...sets.values()].flat();
}

const mostAlike = 0.75;
const shownAlike = 10;

/** Prompts that are nearly a demonstration's are reported, or refused where that is strict. */
export async function heldApart(
  { models, report, signal }: Pick<Run, "models" | "report" | "signal">,
  { strict = false }: Pick<PromptOptions, "strict">,
  prompts: readonly AskedPrompt[],
  { policy }: Arm,
): Promise<Nearest[]> {
  if (policy.demonstrations.length === 0) return [];
  const nearest = await nearestDemonstrations(await models.embedder(), prompts, policy.demonstrations, signal);
  const near = nearest.filter(({ cosine }) => cosine >= mostAlike);
  if (near.length === 0) return nearest;
  const lines = near
    .toSorted((a, b) => b.cosine - a.cosine)
    .slice(0, shownAlike)
    .map(({ prompt, demonstration, cosine }) => `${prompt} and ${demonstration}: ${fixed(cosine, 3)}`);
  const message = `${near.length} of ${prompts.length} prompts are not held apart from the demonstrations (cosine ${mostAlike} or more): ${lines.join("; ")}`;
  if (strict) throw new GatewayError("invalid_request", `${message}. Rewrite them, or leave out --strict.`);
  report(message);
  return nearest;
}

export function describeNearest(nearest: readonly Nearest[]): string[] {
  if (nearest.length === 0) return [];
  const near = nearest.filter(({ cosine }) => cosine >= mostAlike).length;
  const largest = fixed(Math.max(...nearest.map(({ cosine }) => cosine)), 3);
  return [
    `held apart: the largest cosine of a prompt to a demonstration is ${largest}${near > 0 ? `; of ${mostAlike} or more: ${near}` : ""}`,
  ];
}
