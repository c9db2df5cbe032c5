/** @module `icdpo eval mrr`: do scorers order candidates as a judge or a reward model does? Figure 3. */

import { Command } from "commander";
import { GatewayError, inPool, type PromptFormat, type Teacher, type World, whole } from "icdpo-gateway/laboratory";
import { rewardsOf } from "../answers.ts";
import { type Arm, changedArm, measured } from "../arms.ts";
import { scorerNames } from "../pairs-report.ts";
import { samplesOf } from "../pools.ts";
import { judgedPoints } from "../ranking.ts";
import { type RankingRow, rankingFigure, rankingReport, ranksOf } from "../ranking-report.ts";
import type { RewardModel } from "../reward.ts";
import { readData, type TestExample, type TestSet } from "./data.ts";
import { addMeasureOptions, checkRewards, judgeCost, type MeasureOptions, openJudge, withRewards } from "./measures.ts";
import { addDataOptions, addRunOptions, type DataOptions, type RunOptions, requireData } from "./options.ts";
import { openArms, ownEngine, progressOf, type Run, withRun, writeResults } from "./run.ts";

type MrrOptions = RunOptions &
  DataOptions &
  MeasureOptions & {
    readonly candidates: number;
    readonly truth?: string;
    readonly maxTokens?: number;
    readonly prompt?: NonNullable<RunOptions["prompt"]>;
  };

/** Figure 3(a): random demonstrations; (b): retrieved ones. */
const defaults = ["icdpo", "icdpo-r"] as const;

export function mrrCommand(world: World): Command {
  const command = new Command("mrr").description(
    "mean reciprocal rank of the judge's best candidate under Ŝ, S, likelihoods and reward models",
  );
  return addMeasureOptions(addRunOptions(addDataOptions(command, 200), defaults))
    .option("--candidates <number>", "sampled for each prompt", whole, 3)
    .option("--truth <label>", "the reward model whose order is the truth (default: the judge's)")
    .option("--max-tokens <number>", "longest candidate (default: the policy's)", whole)
    .action((options: MrrOptions) => {
      requireData(options);
      checkRewards(options);
      checkTruth(options);
      return withRun(world, "mrr", options, async (run) => {
        const { sets, demonstrations } = await readData(options, await ownEngine(run), run.signal);
        const opened = await openArms(run, options, defaults, demonstrations);
        const { maxTokens } = options;
        const arms = await Promise.all(
          opened.map((arm) => (maxTokens === undefined ? arm : changedArm(arm, { maxTokens }))),
        );
        // A teacher reads what the scorers read, as RM-BoN's does.
        const { prompt = commonFormat(arms) } = options;
        await withRewards(run, prompt === undefined ? options : { ...options, prompt }, async (rewards) => {
          const judge = openJudge(run, options);
          const truth: Truth =
            judge === undefined || options.truth !== undefined
              ? { type: "reward", label: options.truth ?? "" }
              : { type: "judge", judge };
          const rows = await rankAll(run, options, arms, sets, rewards, truth);
          const notes = [
            `- truth: ${options.truth ?? `judge ${judge?.model}`}`,
            ...judgeCost(judge, options),
            ...arms.map(({ policy }) => `- ${policy.id}`),
          ];
          const report = rankingReport("Consistency of scoring", rows, options.candidates, notes);
          await writeResults(run, "ranks", {
            rows,
            report,
            figures: new Map([["mrr.svg", rankingFigure(rows, options.candidates)]]),
          });
          process.stdout.write(options.json ? `${JSON.stringify(ranksOf(rows))}\n` : report);
        });
      });
    });
}

/** The prompt format that all arms score in. */
export function commonFormat(arms: readonly Arm[]): PromptFormat | undefined {
  const [format, ...others] = new Set(arms.map(({ policy }) => policy.scorer.format));
  return others.length === 0 ? format : undefined;
}

/** Every arm's candidates for every prompt. */
async function rankAll(
  run: Run,
  options: MrrOptions,
  arms: readonly Arm[],
  sets: readonly TestSet[],
  rewards: ReadonlyMap<string, RewardModel>,
  truth: Truth,
): Promise<RankingRow[]> {
  const tasks = sets.flatMap(({ label: set, examples }) =>
    examples.flatMap((example) => arms.map((arm) => ({ set, example, arm }))),
  );
  const step = progressOf("prompts", tasks.length, run);
  const rows = await inPool(
    tasks,
    { concurrency: options.concurrency, signal: run.signal },
    async ({ set, example, arm }, signal) => {
      const row = await rankCandidates({ ...run, signal }, options, arm, example, rewards, truth);
      step();
      return { set, id: example.id, arm: arm.name, policy: arm.policy.id, ...row };
    },
  );
  return rows;
}

type Truth = { readonly type: "judge"; readonly judge: Teacher } | { readonly type: "reward"; readonly label: string };

/** Before anything is begun. Throws "invalid_request". */
function checkTruth({ truth, judge, reward }: MrrOptions): void {
  if (truth === undefined && judge === undefined)
    throw new GatewayError(
      "invalid_request",
      "Whose order is the truth? Name a --judge, or a reward model with --truth.",
    );
  if (truth !== undefined && !reward.some((spec) => spec.startsWith(`${truth}=`)))
    throw new GatewayError("invalid_request", `--truth ${truth}: no --reward has this label.`);
}

async function rankCandidates(
  { cache, signal }: Run,
  options: MrrOptions,
  arm: Arm,
  example: TestExample,
  rewards: ReadonlyMap<string, RewardModel>,
  truth: Truth,
): Promise<Pick<RankingRow, "truth" | "scores">> {
  const { id, messages, seed } = example;
  const { answers } = await samplesOf(arm, cache, example, options.candidates, () => performance.now(), signal);
  const texts = answers.map(({ text }) => text);
  const rewardsBy = (models: ReadonlyMap<string, RewardModel>) =>
    Promise.all(texts.map((text) => rewardsOf(models, messages, text, signal)));
  const isTruth = (label: string): boolean => truth.type === "reward" && label === truth.label;
  const points =
    truth.type === "judge"
      ? await judgedPoints(truth.judge, messages, texts, `icdpo-eval-${id}-${arm.name}`, signal)
      : (await rewardsBy(new Map([...rewards].filter(([label]) => isTruth(label))))).map(
          (all) => all[truth.label] as number,
        );
  // Candidates that the truth finds all the same are left out of the ranks: no scorer need read them.
  if (points === null || new Set(points).size === 1) return { truth: points, scores: {} };
  const others = new Map([...rewards].filter(([label]) => !isTruth(label)));
  const rewarded = await rewardsBy(others);
  const { measured: sums } = await measured(arm, cache, { conversation: messages, completions: texts, seed, signal });
  const own = (of: (sum: (typeof sums)[number]) => number | null) =>
    sums.map((sum) => (sum.text === "" ? null : of(sum)));
  return {
    truth: points,
    scores: {
      ...Object.fromEntries([...others.keys()].map((label) => [label, rewarded.map((all) => all[label] as number)])),
      [scorerNames.s_hat]: own(({ sHat }) => sHat),
      [scorerNames.s]: own(({ s }) => s),
      [scorerNames.likelihood]: own(({ positive }) => positive),
      [scorerNames.base]: own(({ base }) => base),
    },
  };
}
