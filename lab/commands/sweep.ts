/** @module `icdpo eval sweep`: what more demonstrations and more candidates bring. The paper leaves the first open. */
import { Command } from "commander";
import type { World } from "icdpo-gateway/laboratory";
import type { AnswerRow } from "../answers.ts";
import { answersReport, answersSummary, meanOfArm, measuresOf, setsOf } from "../answers-report.ts";
import { type Arm, changedArm } from "../arms.ts";
import { accuracy, scorers } from "../pairs.ts";
import { type ArmMargins, pairsReport, pairsSummary, scorerNames } from "../pairs-report.ts";
import { linePlot } from "../plots.tsx";
import { readData } from "./data.ts";
import { checkRewards } from "./measures.ts";
import { counts, requireData } from "./options.ts";
import { marginsOf, pairedSets } from "./pairs-and-leave-one-out.ts";
import { openArms, ownEngine, withRun, writeResults } from "./run.ts";
import { addSystemsOptions, answerAll, type SystemsOptions, withMeasures } from "./systems.ts";

interface SweepOptions extends SystemsOptions {
  readonly shots: readonly number[];
  readonly candidates: readonly number[];
  readonly answers: boolean;
}

interface SweptArm extends Arm {
  readonly shots: number;
  readonly candidates: number;
}

export function sweepCommand(world: World): Command {
  const command = new Command("sweep").description(
    "a policy with other numbers of demonstrations and candidates: pairwise accuracy, and answers measured",
  );
  return addSystemsOptions(command, ["everyday"])
    .option("--shots <numbers>", "numbers of demonstrations; 0: the instructions alone", counts, [0, 1, 2, 4])
    .option("--candidates <numbers>", "numbers of candidates", counts, [1, 3, 5])
    .option("--no-answers", "pairwise accuracy only")
    .action((options: SweepOptions) => {
      requireData(options);
      checkRewards(options);
      return withRun(world, "sweep", options, async (run) => {
        const { sets, demonstrations } = await readData(options, await ownEngine(run), run.signal);
        const policies = await openArms(run, options, ["everyday"], demonstrations);
        const arms = (await Promise.all(policies.map((arm) => variants(arm, options)))).flat();
        const byShots = arms.filter(({ candidates }) => candidates === options.candidates[0]);
        const margins = await marginsOf(run, options, byShots.map(renamed), pairedSets(sets));
        await withMeasures(run, options, async (measures, notes) => {
          const rows = options.answers ? await answerAll(run, options, arms, sets, measures) : [];
          const pairs = pairsReport("Pairwise accuracy by demonstrations", margins);
          const report =
            rows.length === 0
              ? pairs
              : `${pairs}\n${answersReport("Answers by demonstrations and candidates", rows, notes())}`;
          const figures = new Map([["accuracy.svg", accuracyFigure(byShots, margins)], ...answerFigures(arms, rows)]);
          await writeResults(run, "answers", { rows, report, figures });
          const summary = { pairs: pairsSummary(margins), answers: answersSummary(rows) };
          process.stdout.write(options.json ? `${JSON.stringify(summary)}\n` : report);
        });
      });
    });
}

/** Pairs do not depend on candidates. */
function renamed({ shots, ...arm }: SweptArm): Arm {
  return { ...arm, name: `${arm.policy.name}, ${shots} shots` };
}

async function variants(arm: Arm, options: SweepOptions): Promise<SweptArm[]> {
  const settings = options.shots.flatMap((shots) => options.candidates.map((candidates) => ({ shots, candidates })));
  return Promise.all(
    settings.map(async ({ shots, candidates }) => {
      const name = `${arm.name}, ${shots} shots, ${candidates} candidates`;
      return { ...(await changedArm(arm, { name, shots, candidates })), shots, candidates };
    }),
  );
}

function accuracyFigure(arms: readonly SweptArm[], margins: readonly ArmMargins[]): string {
  const policies = [...new Set(arms.map(({ policy }) => policy.name))];
  const lines = policies.flatMap((policy) =>
    scorers.map((scorer) => ({
      label: `${policies.length > 1 ? `${policy}, ` : ""}${scorerNames[scorer]}`,
      points: arms.flatMap((arm, i) => {
        const sets = margins[i]?.sets.map(({ pairs }) => pairs) ?? [];
        const estimate = arm.policy.name === policy ? accuracy(sets, scorer, "sum") : null;
        return estimate === null ? [] : [{ x: arm.shots, estimate }];
      }),
    })),
  );
  return linePlot({
    title: "Pairwise accuracy by demonstrations",
    x: "demonstrations",
    y: "share of pairs",
    digits: 3,
    lines,
  });
}

/** A plot for each measure: shots across, a line for each number of candidates. */
function answerFigures(arms: readonly SweptArm[], rows: readonly AnswerRow[]): [string, string][] {
  const sets = setsOf(rows);
  return measuresOf(rows).map((measure, i) => {
    const groups = [...new Set(arms.map(({ policy, candidates }) => `${policy.name}, ${candidates} candidates`))];
    const lines = groups.map((label) => ({
      label,
      points: arms.flatMap((arm) => {
        const estimate =
          `${arm.policy.name}, ${arm.candidates} candidates` === label
            ? meanOfArm(rows, arm.name, sets, measure)
            : null;
        return estimate === null ? [] : [{ x: arm.shots, estimate }];
      }),
    }));
    return [
      `measure-${i + 1}.svg`,
      linePlot({ title: measure.name, x: "demonstrations", y: "", digits: measure.digits, lines }),
    ];
  });
}
