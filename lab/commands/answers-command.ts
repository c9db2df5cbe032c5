/** @module `icdpo eval answers`: is the chosen answer better than a plain one, and what chooses well? From one pool. */
import { Command, InvalidArgumentError } from "commander";
import { GatewayError, inPool, mostCandidates, type World, whole } from "icdpo-gateway/laboratory";
import { answerMeasures } from "../answer-measures.ts";
import { type Arm, changedArm } from "../arms.ts";
import { poolArms } from "../pool-arms.ts";
import { armsFigure, armsFile, gainFigure, gainFile, type PoolReport, poolReport } from "../pool-report.ts";
import { type AskedPrompt, poolRow, poolSources } from "../pool-rows.ts";
import { armOfScore, choosingArms, type OptionalArm, optionalArms } from "../pool-rules.ts";
import { summarize } from "../pool-summary.ts";
import { verdictOf } from "../verdict.ts";
import { addPromptOptions, describeNearest, heldApart, type PromptOptions, readAll } from "./asked-prompts.ts";
import {
  addDecisionOptions,
  addRewardOptions,
  checkRewards,
  type DecisionOptions,
  decisiveFirst,
  judgeEngineOf,
  labelled,
  type RewardOptions,
  withRewards,
} from "./measures.ts";
import { addRunOptions, type RunOptions } from "./options.ts";
import { openArms, progressOf, type Run, withRun, writeResults } from "./run.ts";

type AnswersOptions = RunOptions &
  RewardOptions &
  DecisionOptions &
  PromptOptions & {
    readonly pool: number;
    readonly plainSamples: number;
    readonly candidates?: readonly number[];
    readonly maxTokens?: number;
    readonly arms: readonly OptionalArm[];
    readonly chosen?: string;
    readonly prompt?: NonNullable<RunOptions["prompt"]>;
  };

const defaults = ["everyday"] as const;

export function answersCommand(world: World): Command {
  const command = new Command("answers").description(
    "what each way of choosing among a policy's candidates gains over a plain answer, by checks, references and rewards",
  );
  return addAnswersOptions(command).action((options: AnswersOptions) => {
    checkRewards(options);
    return withRun(world, "answers", options, async (run) => {
      const prompts = await readAll(options);
      const [first, ...others] = await openArms(run, options, defaults, null);
      const [policy, ...policies] = await Promise.all(
        [first as Arm, ...others].map((arm) => changedArm(arm, { maxTokens: options.maxTokens })),
      );
      await answerAll(run, options, prompts, policy as Arm, policies);
    });
  });
}

function addAnswersOptions(command: Command): Command {
  return addDecisionOptions(addPromptOptions(addRewardOptions(addRunOptions(command, defaults))))
    .option("--pool <number>", "candidates of the first policy for each prompt", whole, 6)
    .option("--plain-samples <number>", "plain answers for each prompt, and answers with instructions only", whole, 3)
    .option("--candidates <numbers>", "n of the arms, the first for all of them (default: the policy's)", sizes)
    .option("--max-tokens <number>", "longest answer (default: the policy's)", whole)
    .option("--arms <names>", `beside those that are always there: ${optionalArms.join(",")}`, families, [
      ...optionalArms,
    ])
    .option("--chosen <arm>", "the arm that the hypotheses are about (default: that of the policy's score)");
}

function sizes(text: string): readonly number[] {
  return [...new Set(text.split(",").map((part) => whole(part.trim())))];
}

function families(text: string): readonly OptionalArm[] {
  return text.split(",").flatMap((part) => {
    const name = part.trim();
    const family = optionalArms.find((one) => one === name);
    if (family === undefined && name !== "") throw new InvalidArgumentError(`known: ${optionalArms.join(", ")}`);
    return family ?? [];
  });
}

async function answerAll(
  run: Run,
  options: AnswersOptions,
  prompts: readonly AskedPrompt[],
  policy: Arm,
  policies: readonly Arm[],
): Promise<void> {
  const choice = choiceOf(options, policy);
  const nearest = await heldApart(run, options, prompts, policy);
  await withRewards(run, options, async (rewards) => {
    const embedder = (): ReturnType<typeof run.models.embedder> => run.models.embedder();
    const judge = await judgeEngineOf(run, options);
    const sources = { prompts, embedder, rewards, judge, cache: run.cache };
    const measures = decisiveFirst(await answerMeasures(sources), options.by);
    const rowOptions = {
      sources: await poolSources(policy, policies, options.arms),
      pool: options.pool,
      plain: options.plainSamples,
      measures,
      embedder: options.arms.includes("consensus") || choice.chosen === "consensus" ? await embedder() : null,
      cache: run.cache,
      now: () => performance.now(),
    };
    const step = progressOf("prompts answered", prompts.length, run);
    const { concurrency } = options;
    const rows = await inPool(prompts, { concurrency, signal: run.signal }, async (prompt, signal) => {
      const row = await poolRow(prompt, rowOptions, signal);
      step();
      return row;
    });
    const chosenBy = [...rewards.keys()].map((label) => `reward ${label}`);
    const arms = poolArms(rows, { ...choice, families: options.arms, rewards: chosenBy });
    const names = measures.map(({ name }) => name);
    const slices = summarize(rows, arms, { chosen: choice.chosen, size: choice.size, measures: names });
    const report = {
      title: `Answers of ${policy.policy.id}`,
      chosen: choice.chosen,
      slices,
      notes: [...describe(options, policy, policies), ...describeNearest(nearest)],
    };
    const others = choosingArms(chosenBy).filter((name) => name !== choice.chosen);
    const figured = arms.map(({ name }) => name).filter((name) => !others.includes(name));
    await write(run, options, rows, report, figured);
  });
}

async function write(
  run: Run,
  { json }: AnswersOptions,
  rows: readonly unknown[],
  report: PoolReport,
  shown: readonly string[],
): Promise<void> {
  const decisive = report.slices[0]?.measures[0];
  const summary = { ...report, verdict: decisive === undefined ? [] : verdictOf(decisive, report.chosen) };
  const page = poolReport(report);
  const figures = new Map([
    [armsFile, armsFigure(report)],
    [gainFile, gainFigure(report, shown)],
  ]);
  await writeResults(run, "answers", { rows, report: page, figures, summary });
  process.stdout.write(json ? `${JSON.stringify(summary)}\n` : page);
}

/** Throws "invalid_request". */
function choiceOf({ chosen, candidates, pool, reward }: AnswersOptions, { policy }: Arm) {
  const known = candidates ?? [Math.min(mostCandidates(policy.settings.candidates), pool)];
  const most = Math.max(...known);
  if (most > pool)
    throw new GatewayError("invalid_request", `A pool of ${pool} has no ${most} candidates: give --pool ${most}.`);
  const name = chosen ?? armOfScore(policy.settings.score);
  if (name === null)
    throw new GatewayError(
      "invalid_request",
      `The policy ${policy.name} has no score by which a pool's answers are chosen: name an arm with --chosen ("Ŝ", "consensus" …), or another policy first.`,
    );
  const arms = choosingArms(reward.map((spec) => `reward ${labelled(spec).label}`));
  if (!arms.includes(name))
    throw new GatewayError("invalid_request", `--chosen ${name}: no arm is called so. Known: ${arms.join(", ")}.`);
  return { chosen: name, sizes: known, size: known[0] as number };
}

function describe(options: AnswersOptions, policy: Arm, policies: readonly Arm[]): string[] {
  const { pool, plainSamples, seed, maxTokens, judgeEngine } = options;
  return [
    `pool: ${pool} candidates of ${policy.policy.id}, format ${policy.policy.sampler.format}; ${plainSamples} plain answers; seed ${seed}`,
    ...(maxTokens === undefined ? [] : [`at most ${maxTokens} tokens an answer`]),
    ...policies.map(({ name, policy: { id } }) => `policy ${name}: ${id}`),
    ...(judgeEngine === undefined ? [] : [`judge: ${judgeEngine}, against the reference or the first plain answer`]),
  ];
}
