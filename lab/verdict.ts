/** @module What the three hypotheses say together, in words: what the default should be. */
import type { MeasureSummary } from "./pool-summary.ts";

/** Of what could be gained, so much makes a score worth its price. */
const worthwhileGain = 0.15;

/** What the decision table says, in words. */
export function verdictOf({ hypotheses, arms }: MeasureSummary, chosen: string): string[] {
  const [h1, h2, h3] = (["H1", "H2", "H3"] as const).map((name) => hypotheses.find((one) => one.name === name));
  if (h1 === undefined || h2 === undefined || h3 === undefined)
    return [`Nothing is decided: the arm "${chosen}" has no answers to compare.`];
  const gain = arms.find(({ arm }) => arm === chosen)?.gain?.value ?? 0;
  const [helps, scoreHelps] = [h1.holds, h2.holds];
  const lines = [
    helps
      ? "H1 holds: the chosen answer is better than a plain one."
      : "H1 is not shown: the chosen answer is not better than a plain one beyond chance.",
  ];
  if (!helps && h1.estimate.high < 0) lines.push("It is worse.");
  if (scoreHelps && gain >= worthwhileGain)
    lines.push(
      "H2 holds, with at least 0.15 of the attainable gain: the score chooses well, and the default stays scored.",
    );
  if (scoreHelps && gain < worthwhileGain)
    lines.push("H2 holds, with less than 0.15 of the attainable gain: the score helps, by too little for its price.");
  if (scoreHelps && !h3.holds)
    lines.push("H3 is not shown: the longest candidate does as well. Normalisation by length becomes the default.");
  if (scoreHelps && h3.holds) lines.push("H3 holds: length alone does not explain it.");
  if (helps && !scoreHelps)
    lines.push("H2 is not shown: demonstrations help, the score does not. The default is the cheaper form that helps.");
  if (!helps && !scoreHelps)
    lines.push("Nothing beats plain here: the README's first sentence changes, and the default with it.");
  return lines;
}
