/** @module A tuning run over a scripted engine: the clock goes by the engine's work. */
import type { AnswerMeasure } from "../../../lab/answer-measures.ts";
import { openVariants, parseVariants } from "../../../lab/commands/open-variants.ts";
import { generatorsOf, type VariantArm } from "../../../lab/generators.ts";
import type { Limit } from "../../../lab/halving.ts";
import type { AskedPrompt } from "../../../lab/pool-rows.ts";
import { Tuning } from "../../../lab/tuning.ts";
import { comparedBy, summarizeTuning } from "../../../lab/tuning-summary.ts";
import { plainLabel } from "../../../lab/variants.ts";
import { onlyEngine } from "../../../src/engine/engines.ts";
import { textFile } from "../../../src/policy/parsed-policies.ts";
import type { ScriptedEngine } from "../scripted-engine.ts";
import { memory } from "./scripted-arm.ts";

const demonstrations = Array.from({ length: 6 }, (_, i) =>
  JSON.stringify({
    id: `d${i}`,
    messages: [{ role: "user", content: `asked ${i}` }],
    chosen: `said ${i}`,
    rejected: `bad ${i}`,
  }),
).join("\n");

export const startPolicy =
  "demonstrations: d\nretriever: { type: random }\nshots: 2\ncandidates: 2\nscore: { type: contrast, negative: rejected }\n";

/** Variants of a policy called p, by a grid; `grid` is YAML. */
export function variantsOf(engine: ScriptedEngine, grid: string, policy = startPolicy, isOurs = false) {
  const files = {
    policies: new Map([["p", policy]]),
    routes: "routes: { p: { policy: p } }",
    demonstrations: new Map([["d", textFile(demonstrations)]]),
  };
  const models = {
    engines: onlyEngine(engine),
    rewards: new Map(),
    embedder: async () => Promise.reject(new Error("nothing is embedded")),
    whenReachable: <Result>(open: () => Promise<Result>): Promise<Result> => open(),
  } as unknown as Parameters<typeof openVariants>[0];
  const parse = () => parseVariants(models, { name: "p", files, grid: { file: "grid.yaml", text: grid, isOurs } });
  const open = async (): Promise<VariantArm[]> => openVariants(models, await parse(), undefined);
  return { parse, open };
}

export function promptsOf(count: number, name = "question"): AskedPrompt[] {
  return Array.from({ length: count }, (_, i) => ({
    set: "own",
    id: `${name} ${i}`,
    seed: i,
    messages: [{ role: "user", content: `${name} ${i}` }],
    kind: "open",
    checks: [],
  }));
}

export function measureOf(reward: (prompt: string, text: string) => number): AnswerMeasure {
  return {
    name: "worth",
    appliesTo: () => true,
    of: async ({ prompt, text }) => reward(prompt.id, text),
  };
}

export interface ScriptedTuning {
  readonly engine: ScriptedEngine;
  readonly grid: string;
  readonly policy?: string;
  readonly measure: AnswerMeasure;
  readonly tuning: readonly AskedPrompt[];
  readonly heldOut: readonly AskedPrompt[];
  readonly limit?: Partial<Limit>;
  /** With what an earlier run kept. */
  readonly kept?: ReturnType<typeof memory>;
  readonly signal?: AbortSignal;
  readonly onPrompt?: () => void;
}

/** The whole of `icdpo tune` but its files. */
export async function tuned(options: ScriptedTuning) {
  const { engine, grid, policy, measure, limit, kept: { cache, added } = memory(), onPrompt = () => {} } = options;
  const variants = await variantsOf(engine, grid, policy).open();
  const start = variants[0] as VariantArm;
  const plain = variants.find(({ label }) => label === plainLabel) ?? start;
  const run = new Tuning({
    measure,
    plain: plain.arm.policy.id,
    cache,
    now: () => engine.worked,
    limit: { ms: Number.POSITIVE_INFINITY, tokens: Number.POSITIVE_INFINITY, ...limit },
    concurrency: 1,
    signal: options.signal ?? new AbortController().signal,
    progress: () => onPrompt,
  });
  const lasting = new Set([start, plain].map(({ arm }) => arm.policy.id));
  const found = await run.tune(options.tuning, generatorsOf(variants), lasting);
  const compared = comparedBy(found, { start, plain });
  const heldOut = await run.holdOut(options.heldOut, [...new Set(Object.values(compared))]);
  const summary = summarizeTuning(measure.name, found, heldOut, compared);
  return { variants, found, compared, heldOut, summary, added, spent: run.spent };
}
