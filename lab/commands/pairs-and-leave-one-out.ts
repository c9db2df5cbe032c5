/**
 * @module `icdpo eval pairs` and `icdpo eval leave-one-out`: how often scorers tell the chosen response from the
 * rejected one.
 */
import { Command, Option } from "commander";
import {
  type Conversation,
  candidateSeed,
  type Demonstration,
  GatewayError,
  inPool,
  type World,
} from "icdpo-gateway/laboratory";
import type { Arm } from "../arms.ts";
import { measurePair, type PairMargins } from "../pairs.ts";
import { type ArmMargins, pairsFigure, pairsReport, pairsSummary } from "../pairs-report.ts";
import { describeData, readData, type TestExample, type TestSet } from "./data.ts";
import { addDataOptions, addRunOptions, type DataOptions, type RunOptions, requireData } from "./options.ts";
import { openArms, ownEngine, progressOf, type Run, withRun, writeResults } from "./run.ts";

/** Plain ICDPO's random demonstrations, the first stage alone, and both. */
const retrievers = ["icdpo", "icdpo-bm25", "icdpo-r"] as const;

export function pairsCommand(world: World): Command {
  const command = new Command("pairs").description(
    "pairwise accuracy of Ŝ, S and likelihoods on chosen and rejected responses",
  );
  addRunOptions(addDataOptions(command, 300), retrievers);
  return command.action((options: RunOptions & DataOptions) => {
    requireData(options);
    return withRun(world, "pairs", options, async (run) => {
      const data = await readData(options, await ownEngine(run), run.signal);
      const arms = await openArms(run, options, retrievers, data.demonstrations);
      const tested = pairedSets(data.sets);
      await measureAll(run, options, `Pairwise accuracy: ${describeData(options, data)}`, arms, tested);
    });
  });
}

export function leaveOneOutCommand(world: World): Command {
  const command = new Command("leave-one-out").description(
    "the same on each policy's own demonstrations, each judged with the others as demonstrations",
  );
  addRunOptions(command, ["everyday"]).addOption(
    new Option(
      "--against <which>",
      "what the chosen responses are held against: the written rejected ones, or near ones",
    )
      .choices(["rejected", "near"] satisfies Against[])
      .default("rejected"),
  );
  return command.action((options: RunOptions & { readonly against: Against }) =>
    withRun(world, "leave-one-out", options, async (run) => {
      const arms = await openArms(run, options, ["everyday"], null);
      const [first] = arms;
      const own = first?.policy.demonstrations ?? [];
      if (
        own.length === 0 ||
        arms.some(({ policy }) => policy.source.demonstrations !== first?.policy.source.demonstrations)
      )
        throw new GatewayError("invalid_request", "Leave-one-out needs policies that share a set of demonstrations.");
      const examples = ownExamples(own, options.against, options.seed);
      if (examples.length === 0)
        throw new GatewayError("invalid_request", `No demonstration has a response for --against ${options.against}.`);
      const tested = pairedSets([{ label: first?.policy.settings.demonstrations ?? "", examples }]);
      await measureAll(run, options, "Leave-one-out on the policies' own demonstrations", arms, tested);
    }),
  );
}

/** Which responses of a demonstration its chosen one is held against: the written one, or each of its near negatives. */
type Against = "rejected" | "near";

/** A set's demonstrations as what is tested: those that have such a response. */
export function ownExamples(
  demonstrations: readonly Demonstration[],
  against: Against,
  seed: number,
): readonly TestExample[] {
  return demonstrations.flatMap(({ near = [], ...demonstration }, index) => {
    const own = { ...demonstration, seed: candidateSeed(seed, index) };
    if (against === "near") return near.map((rejected, i) => ({ ...own, id: `${own.id}/near-${i}`, rejected }));
    return own.rejected === undefined ? [] : [own];
  });
}

/** What has a rejected response. */
export function pairedSets(sets: readonly TestSet[]): TestedSet[] {
  return sets.map(({ label, examples }) => ({
    label,
    pairs: examples.flatMap(({ rejected, ...example }) => (rejected === undefined ? [] : [{ ...example, rejected }])),
  }));
}

interface TestedPair {
  readonly id: string;
  readonly messages: Conversation;
  readonly chosen: string;
  readonly rejected: string;
  readonly seed: number;
}

export interface TestedSet {
  readonly label: string;
  readonly pairs: readonly TestedPair[];
}

async function measureAll(
  run: Run,
  options: RunOptions,
  title: string,
  arms: readonly Arm[],
  sets: readonly TestedSet[],
): Promise<void> {
  const results = await marginsOf(run, options, arms, sets);
  const report = pairsReport(title, results);
  await writeResults(run, "pairs", {
    rows: marginRows(results),
    report,
    figures: new Map([["pairs.svg", pairsFigure("Pairwise accuracy", results)]]),
  });
  process.stdout.write(options.json ? `${JSON.stringify(pairsSummary(results))}\n` : report);
}

export function marginRows(results: readonly ArmMargins[]) {
  return results.flatMap(({ sets, ...arm }) =>
    sets.flatMap(({ label, pairs }) => pairs.map((pair) => ({ ...arm, set: label, ...pair }))),
  );
}

/** Every arm's margins of every pair. */
export async function marginsOf(
  run: Run,
  { concurrency }: Pick<RunOptions, "concurrency">,
  arms: readonly Arm[],
  sets: readonly TestedSet[],
): Promise<ArmMargins[]> {
  const total = sets.reduce((sum, { pairs }) => sum + pairs.length * arms.length, 0);
  const step = progressOf("pairs measured", total, run);
  const results: ArmMargins[] = arms.map(({ name, policy }) => ({
    name,
    id: policy.id,
    format: policy.scorer.format,
    sets: [],
  }));
  for (const { label, pairs } of sets) {
    // All arms of a pair one after another: they share the context without demonstrations.
    const margins = await inPool(pairs, { concurrency, signal: run.signal }, async (pair, signal) => {
      const ofArms: PairMargins[] = [];
      for (const arm of arms) {
        ofArms.push(await measurePair(arm, run.cache, pair, { seed: pair.seed, signal }));
        step();
      }
      return ofArms;
    });
    for (const [i, result] of results.entries())
      result.sets.push({ label, pairs: margins.map((ofArms) => ofArms[i] as PairMargins) });
  }
  return results;
}
