/** @module What the three hypotheses say together, in words: what the default should be. */
import type { Hypothesis, MeasureSummary } from "./pool-summary.ts";
import { fixed } from "./tables.ts";

/** Fewer decide nothing: a percentile bootstrap of them does not hold what it promises. */
export const fewPrompts = 20;

/** Of what could be gained, so much makes a score worth its price. */
const worthwhileGain = 0.15;

/** What the decision table says, in words. */
export function verdictOf({ hypotheses, arms }: MeasureSummary, chosen: string): string[] {
  const [h1, h2, h3] = (["H1", "H2", "H3"] as const).map((name) => hypotheses.find((one) => one.name === name));
  if (h1 === undefined || h2 === undefined || h3 === undefined)
    return [`Nothing is decided: the arm "${chosen}" has no answers to compare.`];
  if (h1.prompts < fewPrompts) return [`Nothing is decided by ${h1.prompts} prompts: ${fewPrompts} are the least.`];
  const gain = arms.find(({ arm }) => arm === chosen)?.gain?.value ?? 0;
  const [helps, scoreHelps] = [h1.holds, h2.holds];
  const lines = [
    helps
      ? "H1 holds: the chosen answer is better than a plain one."
      : `H1 is not shown: the chosen answer is not found better than a plain one${powerOf(h1)}.`,
  ];
  if (!helps && h1.estimate.high < 0) lines.push("It is worse.");
  if (scoreHelps && gain >= worthwhileGain)
    lines.push(
      "H2 holds, with at least 0.15 of the attainable gain: the score chooses well, and the default stays scored.",
    );
  if (scoreHelps && gain < worthwhileGain)
    lines.push("H2 holds, with less than 0.15 of the attainable gain: the score helps, by too little for its price.");
  if (scoreHelps && !h3.holds)
    lines.push("H3 is not shown: the longest candidate may do as well. Normalisation by length becomes the default.");
  if (scoreHelps && h3.holds) lines.push("H3 holds: length alone does not explain it.");
  if (helps && !scoreHelps)
    lines.push(
      "H2 is not shown: demonstrations help, the score is not found to. The default is the cheaper form that helps.",
    );
  if (!helps && !scoreHelps)
    lines.push("Nothing is found to beat plain: the README's first sentence changes, and the default with it.");
  return lines;
}

/** What is not found may be there. */
export function powerOf({ prompts, detectable }: Hypothesis): string {
  return ` (of 100 samples of ${prompts} prompts, 80 find a difference of ${fixed(detectable, 3)})`;
}
