/** @module `icdpo eval prune`: how often is a pruned choice the choice among all, and what does pruning save? */
import { Command, InvalidArgumentError, Option } from "commander";
import { GatewayError, inPool, lacksDemonstrations, type Prune, type World, whole } from "icdpo-gateway/laboratory";
import { type Arm, changedArm } from "../arms.ts";
import type { AskedPrompt } from "../pool-rows.ts";
import { armOfScore } from "../pool-rules.ts";
import { type Samples, samplesOf } from "../pools.ts";
import { type Choice, type PruneRow, pruneReport, pruneSummary } from "../prune-report.ts";
import { fullRanking, ownScore, type PooledAnswer, type Race, simulateRace } from "../simulated-race.ts";
import { tokenValuesOf } from "../token-values.ts";
import { type PromptOptions, readAll } from "./asked-prompts.ts";
import { addRunOptions, type RunOptions } from "./options.ts";
import { openArms, progressOf, type Run, withRun, writeResults } from "./run.ts";

type PruneOptions = RunOptions &
  PromptOptions & {
    readonly pool: number;
    readonly fewer: number;
    readonly every: readonly number[];
    readonly keep: readonly number[];
    readonly maxTokens?: number;
  };

const defaults = ["everyday"] as const;

export function pruneCommand(world: World): Command {
  const command = new Command("prune").description(
    "how often the choice of a pruned race is the choice among all candidates, and what it saves, told from whole pools",
  );
  return addPruneOptions(command).action((options: PruneOptions) =>
    withRun(world, "prune", options, async (run) => {
      const prompts = await readAll(options);
      const [opened] = await openArms(run, options, defaults, null);
      const policy = await changedArm(opened as Arm, { maxTokens: options.maxTokens });
      checkRaces(policy, options);
      await raceAll(run, options, prompts, policy);
    }),
  );
}

function addPruneOptions(command: Command): Command {
  const repeated = (text: string, before: readonly string[]): readonly string[] => [...before, text];
  return addRunOptions(command, defaults)
    .addOption(
      new Option("--prompts <label=file>", "prompts with checks or references, JSONL; again for another set")
        .argParser(repeated)
        .default([], "the project's own"),
    )
    .option("--limit <number>", "of each set, drawn without replacement (default: all)", whole)
    .option("--pool <number>", "candidates of the policy for each prompt", whole, 8)
    .option("--fewer <number>", "beside them the first so many alone, unpruned", whole, 3)
    .option(
      "--every <numbers>",
      "tokens between two comparisons",
      (text) => text.split(",").map(whole),
      [8, 16, 32, 64],
    )
    .option("--keep <shares>", "of the candidates that go on each time", shares, [0.25, 0.5, 0.75])
    .option("--max-tokens <number>", "longest answer (default: the policy's)", whole);
}

function shares(text: string): readonly number[] {
  return text.split(",").map((part) => {
    const share = Number(part);
    if (!(share > 0 && share < 1)) throw new InvalidArgumentError("must be shares between 0 and 1, as in 0.25,0.5");
    return share;
  });
}

/** Throws "invalid_request" where the score of a beginning is not made of its tokens' values, or none can be dropped. */
export function checkRaces(
  { policy: { name, settings } }: Arm,
  { pool, fewer }: Pick<PruneOptions, "pool" | "fewer">,
): void {
  const refuse = (reason: string): never => {
    throw new GatewayError("invalid_request", reason);
  };
  if (armOfScore(settings.score) === null)
    refuse(
      `The policy ${name} cannot be told from pools: its score must be a contrast or a likelihood, without reward, consensus, reference, and what goes last.`,
    );
  if (settings.scorer !== undefined)
    refuse(
      `The policy ${name} cannot be told from pools: another model scores, whose tokens are not those that are sampled.`,
    );
  if (pool < 2) refuse(`--pool ${pool}: of one candidate none can be dropped.`);
  if (fewer > pool) refuse(`--fewer ${fewer}: a pool of ${pool} has no ${fewer} candidates.`);
}

async function raceAll(run: Run, options: PruneOptions, prompts: readonly AskedPrompt[], policy: Arm): Promise<void> {
  const { every, keep, pool, fewer, concurrency } = options;
  const settings = every.flatMap((tokens) => keep.map((share): Prune => ({ every: tokens, keep: share })));
  const sampler = await changedArm(policy, { unscored: true, candidates: 1 });
  const step = progressOf("prompts answered", prompts.length, run);
  const told = await inPool(prompts, { concurrency, signal: run.signal }, async (prompt, signal) => {
    const answers = await pooledAnswers({ ...run, signal }, policy, sampler, prompt, pool);
    step();
    return answers && { set: prompt.set, id: prompt.id, ...racesOf(answers, policy, settings, fewer) };
  });
  const rows = told.filter((row) => row !== null);
  const notes = describe(options, policy, told.length - rows.length);
  const terms = { title: `Pruning ${policy.policy.id}`, pool, fewer, settings, notes };
  const summary = pruneSummary(rows, terms);
  const report = pruneReport(rows, terms);
  await writeResults(run, "races", { rows, report, summary });
  process.stdout.write(options.json ? `${JSON.stringify(summary)}\n` : report);
}

/** Null: no demonstration is similar, and the policy answers by one plain sample. */
async function pooledAnswers(
  { cache, signal }: Pick<Run, "cache" | "signal">,
  policy: Arm,
  sampler: Arm,
  prompt: AskedPrompt,
  count: number,
): Promise<PooledAnswer[] | null> {
  const samples = await samplesOf(sampler, cache, prompt, count, () => performance.now(), signal);
  if (lacksDemonstrations(policy.policy, samples.demonstrations)) return null;
  const values = await tokenValuesOf(policy, cache, prompt, samples, signal);
  return values.map((own, i) => ({ ...(samples.answers[i] as Samples["answers"][number]), ...own }));
}

function describe({ pool, seed, maxTokens }: PruneOptions, { policy }: Arm, leftOut: number): string[] {
  const plain = `left out: ${leftOut} prompts without a similar demonstration, which one plain sample answers`;
  return [
    `pool: ${pool} candidates of ${policy.id}, format ${policy.sampler.format}, seed ${seed}`,
    ...(leftOut > 0 ? [plain] : []),
    ...(maxTokens === undefined ? [] : [`at most ${maxTokens} tokens an answer`]),
  ];
}

/** What is chosen of a pool in each way. */
export function racesOf(
  pool: readonly PooledAnswer[],
  { policy }: Arm,
  settings: readonly Prune[],
  fewer: number,
): Pick<PruneRow, "all" | "fewer" | "pruned"> {
  const order = fullRanking(pool, policy);
  const told = (race: Race): Choice => {
    const answer = pool[race.chosen] as PooledAnswer;
    // Of answers that are the same, any is as good as the first.
    const place = order.findIndex((index) => pool[index]?.text === answer.text) + 1;
    return { ...race, place, score: ownScore(answer, policy) };
  };
  const whole = (answers: readonly PooledAnswer[]): Choice => {
    const sampled = answers.reduce((sum, { positive }) => sum + positive.length - 1, 0);
    const scored = answers.reduce((sum, { negative, text }) => sum + (text === "" ? 0 : (negative?.length ?? 0)), 0);
    return told({ chosen: fullRanking(answers, policy)[0] ?? 0, sampled, scored });
  };
  return {
    all: whole(pool),
    fewer: whole(pool.slice(0, fewer)),
    pruned: settings.map((one) => told(simulateRace(pool, policy, one))),
  };
}
