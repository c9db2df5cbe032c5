/**
 * @module `icdpo eval systems`: what policies answer to the same prompts, measured: Tables 2, 3 and 5, Figures 2 and 4.
 */
import { Command } from "commander";
import { inPool, type World, whole } from "icdpo-gateway/laboratory";
import { answerOf, type Measures, measureAnswer } from "../answers.ts";
import { answersReport, answersSummary, judgedFigure } from "../answers-report.ts";
import { type Arm, changedArm } from "../arms.ts";
import type { PaperRow } from "../paper-table.ts";
import { describeData, readData, type TestSet } from "./data.ts";
import { addMeasureOptions, checkRewards, judgeCost, type MeasureOptions, openJudge, withRewards } from "./measures.ts";
import { addDataOptions, addRunOptions, type DataOptions, type RunOptions, requireData } from "./options.ts";
import { openArms, ownEngine, progressOf, type Run, withRun, writeResults } from "./run.ts";

export interface SystemsOptions extends RunOptions, DataOptions, MeasureOptions {
  readonly maxTokens?: number;
  readonly measuredBy?: string;
  readonly modelLabel: string;
  readonly teacherLabel: string;
  readonly prompt?: NonNullable<RunOptions["prompt"]>;
}

const defaults = ["base", "icdpo", "icdpo-s-hat", "icdpo-s-hat-r"] as const;

export function systemsCommand(world: World): Command {
  const command = new Command("systems").description(
    "answers of policies to the same prompts, by reward models, a judge, and what they cost",
  );
  return addSystemsOptions(command, defaults).action((options: SystemsOptions) => {
    requireData(options);
    checkRewards(options);
    return withRun(world, "systems", options, async (run) => {
      const data = await readData(options, await ownEngine(run), run.signal);
      const { sets, demonstrations } = data;
      const arms = await openArms(run, options, defaults, demonstrations);
      await withMeasures(run, options, async (measures, notes) => {
        const rows = await answerAll(run, options, arms, sets, measures);
        const report = answersReport(`Systems: ${describeData(options, data)}`, rows, notes());
        const figure = judgedFigure(rows);
        await writeResults(run, "answers", {
          rows,
          report,
          figures: new Map(figure === null ? [] : [["judged.svg", figure]]),
        });
        process.stdout.write(options.json ? `${JSON.stringify(answersSummary(rows))}\n` : report);
      });
    });
  });
}

export function addSystemsOptions(command: Command, policies: readonly string[]): Command {
  return addMeasureOptions(addRunOptions(addDataOptions(command, 50), policies))
    .option("--max-tokens <number>", "longest answer (default: the policy's)", whole)
    .option("--measured-by <policy>", "measure S and Ŝ of every answer under this policy's demonstrations")
    .option("--model-label <text>", "the model's column in `icdpo eval table`", "default")
    .option("--teacher-label <text>", "the demonstrations' rows in `icdpo eval table`", "");
}

/** With `notes`, for the report, when all is measured. */
export function withMeasures(
  run: Run,
  options: SystemsOptions,
  work: (measures: Measures, notes: () => string[]) => Promise<void>,
): Promise<void> {
  return withRewards(run, options, async (rewards) => {
    const judge = openJudge(run, options);
    const measuredBy = options.measuredBy;
    const [yardstick] =
      measuredBy === undefined ? [] : await openArms(run, { ...options, policy: [measuredBy] }, [], null);
    const notes = () => [
      ...(yardstick === undefined ? [] : [`- S and Ŝ under ${yardstick.policy.id}`]),
      ...judgeCost(judge, options),
    ];
    await work({ rewards, judge, measuredBy: yardstick }, notes);
  });
}

/** Every arm's answer to every prompt, prompts first, so that arms are under way together. */
export async function answerAll(
  run: Run,
  options: SystemsOptions,
  arms: readonly Arm[],
  sets: readonly TestSet[],
  measures: Measures,
): Promise<PaperRow[]> {
  const { maxTokens, modelLabel: model, teacherLabel: teacher, concurrency } = options;
  const changed = await Promise.all(
    arms.map((arm) => (maxTokens === undefined ? arm : changedArm(arm, { maxTokens }))),
  );
  const tasks = sets.flatMap(({ label: set, examples }) =>
    examples.flatMap((example) => changed.map((arm) => ({ set, example, arm }))),
  );
  const step = progressOf("answers", tasks.length, run);
  return inPool(tasks, { concurrency, signal: run.signal }, async ({ set, example, arm }, signal) => {
    const answer = await answerOf(arm, run.cache, example, () => performance.now(), signal);
    const measured = await measureAnswer(answer, example, measures, run.cache, signal);
    step();
    return { model, teacher, set, id: example.id, arm: arm.name, policy: arm.policy.id, ...answer, ...measured };
  });
}
