/** @module What a run of `icdpo tune` says in words: whether its choice is better, and how far its figures flattered. */
import { policyOf, type VariantArm } from "./generators.ts";
import type { Hypothesis } from "./pool-summary.ts";
import type { Estimate } from "./statistics.ts";
import { fixed } from "./tables.ts";
import type { Compared, VariantMeasured } from "./tuning-summary.ts";
import { fewPrompts, powerOf } from "./verdict.ts";

const signed = (value: number): string => fixed(value, 3);
const within = ({ value, low, high }: Estimate): string => `${signed(value)} (${signed(low)} … ${signed(high)})`;

export function tuningVerdict(
  hypotheses: readonly Hypothesis[],
  { chosen, start, plain }: Compared,
  tuning: readonly VariantMeasured[],
  prompts: number,
): string[] {
  const [isStart, isPlain] = [policyOf(chosen) === policyOf(start), policyOf(chosen) === policyOf(plain)];
  const choice = isStart
    ? "The policy stays as it is: nothing is better by more than noise, or as good and cheaper."
    : `Chosen: ${chosen.label}.`;
  if (prompts < fewPrompts)
    return [choice, `Nothing is decided by ${prompts} held-out prompts: ${fewPrompts} are the least.`];
  const found = hypotheses.map((one) => foundOf(one));
  const overPlain = hypotheses.find(({ than }) => than === plain.label);
  const nothing =
    isPlain || overPlain?.holds === false
      ? ["Nothing is found to beat plain, beyond noise, on prompts that nothing was tuned on."]
      : [];
  return [choice, ...found, ...nothing, ...optimismOf(hypotheses, chosen, tuning, { start, plain })];
}

function foundOf(one: Hypothesis): string {
  const by = `${within(one.estimate)} on ${one.prompts} held-out prompts`;
  if (one.holds) return `It is better than ${one.than}: by ${by}.`;
  if (one.estimate.high < 0) return `It is worse than ${one.than}: by ${by}.`;
  return `It is not found better than ${one.than}: ${by}${powerOf(one)}.`;
}

/** The best of many looks better than it is: by how much, the held-out prompts tell. */
function optimismOf(
  hypotheses: readonly Hypothesis[],
  chosen: VariantArm,
  tuning: readonly VariantMeasured[],
  { start, plain }: Omit<Compared, "chosen">,
): string[] {
  const own = tuning.find(({ label }) => label === chosen.label);
  return hypotheses.flatMap(({ than, estimate }) => {
    const seemed = (than === plain.label ? own?.lessPlain : than === start.label ? own?.lessStart : null)?.estimate;
    if (seemed === undefined) return [];
    const optimism = seemed.value - estimate.value;
    return [
      `On the prompts for tuning its gain over ${than} seemed ${signed(seemed.value)}, ${signed(Math.abs(optimism))} ${optimism >= 0 ? "more" : "less"} than on those held out: what is chosen for its figures owes some of them to chance.`,
    ];
  });
}
