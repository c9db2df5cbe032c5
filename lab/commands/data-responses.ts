/**
 * @module `icdpo eval references` and `icdpo eval nll`: the data's own responses by reward models (Table 1), and how
 * likely models find them (Figure 5).
 */
import { Command } from "commander";
import { GatewayError, inPool, type World } from "icdpo-gateway/laboratory";
import { rewardsOf } from "../answers.ts";
import { type DataRow, dataFigure, dataReport, splitLabel } from "../data-report.ts";
import { cachedReward, engineReward, type RewardModel } from "../reward.ts";
import { readData, type TestSet } from "./data.ts";
import {
  addMeasureOptions,
  checkRewards,
  engineNamed,
  formatOf,
  type MeasureOptions,
  withRewards,
} from "./measures.ts";
import { addDataOptions, addRunOptions, type DataOptions, type RunOptions, requireData } from "./options.ts";
import { ownEngine, progressOf, type Run, withRun, writeResults } from "./run.ts";

type ReferencesOptions = RunOptions &
  DataOptions &
  MeasureOptions & { readonly prompt?: NonNullable<RunOptions["prompt"]> };

export function referencesCommand(world: World): Command {
  const command = new Command("references").description(
    "rewards of the data's chosen responses: --data raw/harmless=FILE --data teacher/harmless=FILE …",
  );
  return addMeasureOptions(addRunOptions(addDataOptions(command, 200), [])).action((options: ReferencesOptions) => {
    requireData(options);
    checkRewards(options);
    if (options.reward.length === 0) throw new GatewayError("invalid_request", "References need a --reward.");
    return withRun(world, "references", options, async (run) => {
      const { sets } = await readData(options, await ownEngine(run), run.signal);
      await withRewards(run, options, async (rewards) => {
        const rows = await rewardAll(run, options, sets, rewards);
        const report = dataReport("Reference results", rows, [
          "Mean rewards of the data's chosen responses; in brackets: bootstrap intervals of 95 %.",
        ]);
        await writeResults(run, "references", { rows, report });
        process.stdout.write(options.json ? `${JSON.stringify(rows)}\n` : report);
      });
    });
  });
}

type NllOptions = RunOptions & DataOptions & { readonly engine: readonly string[] };

export function nllCommand(world: World): Command {
  const command = new Command("nll").description(
    "mean negative log-likelihood per token of the data's chosen responses: --data teacher=FILE …",
  );
  return addRunOptions(addDataOptions(command, 200), [])
    .option(
      "--engine <name>",
      "a model that reads them; again for another",
      (text: string, before: readonly string[]) => [...before, text],
      [],
    )
    .action((options: NllOptions) => {
      requireData(options);
      return withRun(world, "nll", options, async (run) => {
        const { sets } = await readData(options, await ownEngine(run), run.signal);
        const names = options.engine.length > 0 ? options.engine : ["default"];
        const models = new Map<string, RewardModel>();
        for (const name of names) {
          const engine = await engineNamed(run, name);
          models.set(
            name,
            cachedReward(await engineReward(engine, options.prompt ?? (await formatOf(engine)), "token"), run.cache),
          );
        }
        const rewarded = await rewardAll(run, options, sets, models);
        const rows = rewarded.map((row) => ({
          ...row,
          values: Object.fromEntries(Object.entries(row.values).map(([name, value]) => [name, -value])),
        }));
        const explanation = [
          "Mean over responses of −log π(y ∣ x) per token, the closing token among them, in nats, without demonstrations; in brackets: bootstrap",
          "intervals of 95 %. A smaller value: nearer to what the model itself would say.",
        ];
        const report = dataReport("Negative log-likelihood of demonstrations", rows, explanation);
        const figure = dataFigure("How unlikely models find each source's responses", "nats per token", rows);
        await writeResults(run, "nll", { rows, report, figures: new Map([["nll.svg", figure]]) });
        process.stdout.write(options.json ? `${JSON.stringify(rows)}\n` : report);
      });
    });
}

async function rewardAll(
  run: Run,
  { concurrency }: RunOptions,
  sets: readonly TestSet[],
  rewards: ReadonlyMap<string, RewardModel>,
): Promise<DataRow[]> {
  const tasks = sets.flatMap(({ label, examples }) => examples.map((example) => ({ label, example })));
  const step = progressOf("responses", tasks.length, run);
  return inPool(tasks, { concurrency, signal: run.signal }, async ({ label, example }, signal) => {
    const values = await rewardsOf(rewards, example.messages, example.chosen, signal);
    step();
    return { ...splitLabel(label), id: example.id, values };
  });
}
