/**
 * @module `icdpo eval quick`: a look at everything in minutes, with the default model and the project's own
 * demonstrations.
 */
import path from "node:path";
import { Command } from "commander";
import type { World } from "icdpo-gateway/laboratory";
import { answersReport, answersSummary } from "../answers-report.ts";
import { pairsFigure, pairsReport, pairsSummary } from "../pairs-report.ts";
import { readData } from "./data.ts";
import { checkRewards } from "./measures.ts";
import { marginsOf, pairedSets } from "./pairs-and-leave-one-out.ts";
import { openArms, ownEngine, withRun, writeResults } from "./run.ts";
import { addSystemsOptions, answerAll, type SystemsOptions, withMeasures } from "./systems.ts";

const retrievers = ["icdpo", "icdpo-bm25", "icdpo-r"] as const;
const systems = ["plain", "everyday"] as const;
const pairLimit = 12;
const promptLimit = 6;
const answerTokens = 64;

export function quickCommand(world: World): Command {
  const command = new Command("quick").description(
    "a few pairs and a few answers, in minutes; without --data on the project's own demonstrations",
  );
  return addSystemsOptions(command, systems).action((given: SystemsOptions) => {
    checkRewards(given);
    return withRun(world, "quick", given, async (run) => {
      const options = {
        ...given,
        limit: Math.min(given.limit, pairLimit),
        maxTokens: given.maxTokens ?? answerTokens,
        ...ownData(world, given),
      };
      const { sets, demonstrations } = await readData(options, await ownEngine(run), run.signal);
      const scoring = await openArms(run, { ...options, policy: [] }, retrievers, demonstrations);
      const margins = await marginsOf(run, options, scoring, pairedSets(sets));
      const answering = await openArms(run, options, systems, demonstrations);
      const few = sets.map(({ label, examples }) => ({ label, examples: examples.slice(0, promptLimit) }));
      await withMeasures(run, options, async (measures, notes) => {
        const rows = await answerAll(run, options, answering, few, measures);
        const report = `${pairsReport("Quick look: pairwise accuracy", margins)}\n${answersReport("Quick look: answers", rows, notes())}`;
        await writeResults(run, "answers", {
          rows,
          report,
          figures: new Map([["pairs.svg", pairsFigure("Pairwise accuracy", margins)]]),
        });
        process.stdout.write(
          options.json
            ? `${JSON.stringify({ pairs: pairsSummary(margins), answers: answersSummary(rows) })}\n`
            : report,
        );
      });
    });
  });
}

/** The project's own demonstrations, some held out to be tested. */
function ownData(world: World, { data, demonstrationsFrom, holdOut }: SystemsOptions) {
  if (data.length > 0) return { data, ...(demonstrationsFrom !== undefined && { demonstrationsFrom }), holdOut };
  const file = path.join(world.settings().demonstrationsDirectory, "everyday.jsonl");
  return { data: [`everyday=${file}`], demonstrationsFrom: file, holdOut: 2 * pairLimit };
}
