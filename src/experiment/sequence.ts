/**
 * @module Confidence sequences: intervals that hold at all looks at once, so that whoever looks early is not misled.
 *
 * The t-statistic of a mean, or of a difference of means, is held against the normal mixture with unknown variance of
 * Lindon, Ham, Tingley and Bojinov, "Anytime-Valid Linear Models and Regression Adjusted Causal Inference in Randomized
 * Experiments" (arXiv 2210.08589): with ν degrees of freedom, n′ effective observations and r = φ / (φ + n′),
 *
 *     E = √r · ((1 + t²/ν) / (1 + r·t²/ν))^((ν + 1) / 2),
 *
 * and by Ville's inequality P(E ≥ 1/α at any look) ≤ α. Solved for t it gives the half width of the interval in
 * standard errors.
 */

/**
 * φ: the interval is narrowest, beside what it could be, at about 8 φ effective observations (200 units in each of two
 * arms).
 */
const precision = 12;

/** Below so many units in an arm nothing is said: a t-statistic of a handful of thumbs is not one. */
export const fewestUnits = 20;

export interface Interval {
  readonly low: number;
  readonly high: number;
}

export interface Estimate extends Interval {
  /** The mean, or the difference of means. */
  readonly value: number;
}

/**
 * A sample of units: how many, the sum of their values and of their squares, the least value and the greatest (to five
 * binary digits).
 */
export interface Moments {
  readonly count: number;
  readonly sum: number;
  readonly squares: number;
  readonly least: number;
  readonly greatest: number;
}

/** Half width in standard errors; infinite while there is too little to say. */
export function criticalValue(effective: number, degrees: number, alpha: number): number {
  if (degrees < 1) return Number.POSITIVE_INFINITY;
  const ratio = precision / (precision + effective);
  const power = (alpha * alpha * ratio) ** (1 / (degrees + 1));
  return power <= ratio ? Number.POSITIVE_INFINITY : Math.sqrt((degrees * (1 - power)) / (power - ratio));
}

/** Of a mean of units' values. */
export function meanSequence(moments: Moments, alpha: number): Estimate | null {
  const { count, sum } = moments;
  if (count === 0) return null;
  const value = sum / count;
  if (count < fewestUnits) return around(value, Number.POSITIVE_INFINITY);
  const variance = varianceOf(moments) + unseen(moments, moments);
  if (variance === 0) return around(value, Number.POSITIVE_INFINITY);
  return around(value, criticalValue(count, count - 1, alpha) * Math.sqrt(variance / count));
}

/**
 * Of the difference of two arms' means, `treatment − control`. An arm of few units in which by chance nothing happened
 * must not look certain: each arm's variance is at least that of both together, and more by what two units would add
 * that lie as far out as any that was seen.
 */
export function differenceSequence(treatment: Moments, control: Moments, alpha: number): Estimate | null {
  if (treatment.count === 0 || control.count === 0) return null;
  const value = treatment.sum / treatment.count - control.sum / control.count;
  if (treatment.count < fewestUnits || control.count < fewestUnits) return around(value, Number.POSITIVE_INFINITY);
  const both = together(treatment, control);
  const varianceOfMean = (arm: Moments): number =>
    (Math.max(varianceOf(both), varianceOf(arm)) + unseen(arm, both)) / arm.count;
  const [a, b] = [varianceOfMean(treatment), varianceOfMean(control)];
  const degrees = a + b === 0 ? 0 : (a + b) ** 2 / (a ** 2 / (treatment.count - 1) + b ** 2 / (control.count - 1));
  const effective = (treatment.count * control.count) / (treatment.count + control.count);
  // All values the same so far: of their spread nothing is known.
  if (a + b === 0) return around(value, Number.POSITIVE_INFINITY);
  return around(value, criticalValue(effective, degrees, alpha) * Math.sqrt(a + b));
}

function varianceOf({ count, sum, squares }: Moments): number {
  return Math.max(0, (squares - (sum * sum) / count) / (count - 1));
}

/** What two units at the edge of all that was seen would add to an arm's variance. */
function unseen({ count }: Moments, { count: all, sum, least, greatest }: Moments): number {
  const mean = sum / all;
  return (2 * Math.max(greatest - mean, mean - least) ** 2) / count;
}

function together(a: Moments, b: Moments): Moments {
  return {
    count: a.count + b.count,
    sum: a.sum + b.sum,
    squares: a.squares + b.squares,
    least: Math.min(a.least, b.least),
    greatest: Math.max(a.greatest, b.greatest),
  };
}

function around(value: number, half: number): Estimate {
  return { value, low: value - half, high: value + half };
}

/** How near the alternative's shares lie to the weights: Dirichlet(c · shares). */
const concentration = 50;

/**
 * Whether units fall to the arms as their weights say: the multinomial e-process of Lindon and Malek, "Anytime-Valid
 * Inference for Multinomial Count Data" (arXiv 2011.03567), which does not depend on the order in which they came:
 *
 *     E = Γ(c) / Γ(c + n) · ∏ₐ Γ(c·shareₐ + nₐ) / Γ(c·shareₐ) / shareₐ^nₐ.
 *
 * At least 1/α at some look with probability α at most, if all is well. `shares`: arm → a unit's chance to come to it;
 * `counts`: arm → units.
 */
export function sampleRatioEvidence(
  shares: Readonly<Record<string, number>>,
  counts: Readonly<Record<string, number>>,
): number {
  let [logEvidence, total] = [0, 0];
  for (const [arm, count] of Object.entries(counts)) {
    const share = shares[arm] ?? 0;
    // Nobody should come to an arm of share 0.
    if (count > 0 && share === 0) return Number.MAX_VALUE;
    if (count > 0) logEvidence += logRising(concentration * share, count) - count * Math.log(share);
    total += count;
  }
  return Math.min(Number.MAX_VALUE, Math.exp(logEvidence - logRising(concentration, total)));
}

/** log (Γ(from + steps) / Γ(from)) */
function logRising(from: number, steps: number): number {
  let [log, at] = [0, from];
  const end = from + steps;
  for (; at < end && at < stirlingFrom; at++) log += Math.log(at);
  return at < end ? log + stirling(end) - stirling(at) : log;
}

/** From here on the series is right to rounding. */
const stirlingFrom = 20;

/** log Γ(x) less a constant, by Stirling's series. */
function stirling(x: number): number {
  return (x - 0.5) * Math.log(x) - x + 1 / (12 * x) - 1 / (360 * x ** 3) + 1 / (1260 * x ** 5) - 1 / (1680 * x ** 7);
}
