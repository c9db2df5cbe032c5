/**
 * @module What a sample says of a mean or a share, and how sure it is. Unlike an experiment's, these samples are looked
 * at once.
 */
import { type Estimate, randomFrom } from "icdpo-gateway/laboratory";

export type { Estimate } from "icdpo-gateway/laboratory";

export interface BootstrapOptions {
  readonly resamples: number;
  readonly seed: number;
  /** 0.05 makes intervals of 95 %. */
  readonly alpha: number;
}

export const defaultBootstrap: BootstrapOptions = { resamples: 2_000, seed: 0, alpha: 0.05 };

/** z of a standard normal, 1.96 at α = 0.05. */
const quantile95 = 1.959963984540054;

/**
 * The mean over data sets of their means, with a percentile bootstrap interval: prompts are drawn anew within each data
 * set. One data set is a plain mean. Null where a data set is empty. For a paired difference, give the differences.
 */
export function bootstrapMean(
  sets: readonly (readonly number[])[],
  options: Partial<BootstrapOptions> = {},
): Estimate | null {
  const { resamples, seed, alpha } = { ...defaultBootstrap, ...options };
  if (sets.length === 0 || sets.some((values) => values.length === 0)) return null;
  const random = randomFrom(seed);
  const draw = (values: readonly number[]): number => {
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[Math.floor(random() * values.length)] as number;
    return sum / values.length;
  };
  const means = Float64Array.from({ length: resamples }, () => meanOf(sets.map(draw))).sort();
  return { value: meanOf(sets.map(meanOf)), low: quantile(means, alpha / 2), high: quantile(means, 1 - alpha / 2) };
}

/**
 * A ratio of means, Σ over / Σ under of paired values, with a percentile bootstrap interval over the pairs. Null where
 * there is nothing under it; resamples without are left out.
 */
export function bootstrapRatio(
  pairs: readonly { readonly over: number; readonly under: number }[],
  options: Partial<BootstrapOptions> = {},
): Estimate | null {
  const { resamples, seed, alpha } = { ...defaultBootstrap, ...options };
  const random = randomFrom(seed);
  const ratio = (drawn: (i: number) => number): number => {
    let [over, under] = [0, 0];
    for (let i = 0; i < pairs.length; i++) {
      const pair = pairs[drawn(i)];
      over += pair?.over ?? 0;
      under += pair?.under ?? 0;
    }
    return Math.abs(under) < tiny ? Number.NaN : over / under;
  };
  const value = ratio((i) => i);
  if (Number.isNaN(value)) return null;
  const drawn = Array.from({ length: resamples }, () => ratio(() => Math.floor(random() * pairs.length)));
  const ratios = Float64Array.from(drawn.filter((one) => !Number.isNaN(one))).sort();
  return { value, low: quantile(ratios, alpha / 2), high: quantile(ratios, 1 - alpha / 2) };
}

/** What is left of zero after additions. */
const tiny = 1e-9;
/** All assignments of signs are tried for so few differences. */
const fewDifferences = 16;
const signFlips = 10_000;

/**
 * The two-sided p-value of the sign-flip test: how often the mean of paired differences is at least as far from 0 as it
 * is, if the sign of each were chance. Exact for up to 16 that are not 0, else of 10,000 drawn assignments and the one
 * that was found. 1 of none.
 */
export function signFlip(differences: readonly number[], seed = 0): number {
  const values = differences.filter((value) => Math.abs(value) > tiny);
  const bound = Math.abs(values.reduce((sum, value) => sum + value, 0)) - tiny;
  const isAsFar = (isNegative: (i: number) => boolean): boolean => {
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += isNegative(i) ? -(values[i] as number) : (values[i] as number);
    return Math.abs(sum) >= bound;
  };
  let count = 0;
  if (values.length <= fewDifferences) {
    const all = 2 ** values.length;
    for (let signs = 0; signs < all; signs++) if (isAsFar((i) => ((signs >> i) & 1) === 1)) count += 1;
    return count / all;
  }
  const coin = coinFrom(randomFrom(seed));
  for (let flip = 0; flip < signFlips; flip++) if (isAsFar(coin)) count += 1;
  return (count + 1) / (signFlips + 1);
}

/** True as often as false; a number is drawn for every 24 of them. */
function coinFrom(random: () => number): () => boolean {
  let [bits, left] = [0, 0];
  return () => {
    if (left === 0) [bits, left] = [Math.floor(random() * 2 ** 24), 24];
    left -= 1;
    return ((bits >> left) & 1) === 1;
  };
}

/** Holm's p-values: those of several hypotheses, so that one of them is rejected by chance as rarely as a single one. */
export function holm(ps: readonly number[]): number[] {
  const order = ps.map((_, i) => i).toSorted((a, b) => (ps[a] as number) - (ps[b] as number));
  const adjusted = new Array<number>(ps.length);
  let least = 0;
  for (const [rank, i] of order.entries()) {
    least = Math.max(least, Math.min(1, (ps.length - rank) * (ps[i] as number)));
    adjusted[i] = least;
  }
  return adjusted;
}

/** Of a sample: the sum of squares by one less than their number. NaN of fewer than two. */
export function deviation(values: readonly number[]): number {
  const mean = meanOf(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
}

/** z of 80 %. */
const quantile80 = 0.8416212335729143;

/** Differences that are found significant (two-sided, 5 %) in 80 of 100 samples: Δ = (z₀.₉₇₅ + z₀.₈) · sd / √n. */
export function detectable(sd: number, count: number): number {
  return ((quantile95 + quantile80) * sd) / Math.sqrt(count);
}

/** How many pairs that takes for a difference: n = ((z₀.₉₇₅ + z₀.₈) · sd / Δ)². Infinite for none. */
export function pairsNeeded(sd: number, difference: number): number {
  return Math.abs(difference) < tiny ? Number.POSITIVE_INFINITY : Math.ceil((detectable(sd, 1) / difference) ** 2);
}

/**
 * A share with Wilson's interval of 95 %, which is not certain even where all agree. Values are 1, 0, or ½ for a tie.
 * Null: no values.
 */
export function shareOf(values: readonly number[]): Estimate | null {
  const { length: count } = values;
  if (count === 0) return null;
  const share = meanOf(values);
  const square = quantile95 ** 2;
  const centre = (share + square / (2 * count)) / (1 + square / count);
  const half =
    (quantile95 / (1 + square / count)) * Math.sqrt((share * (1 - share)) / count + square / (4 * count ** 2));
  return { value: share, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

/** Of values in ascending order, between neighbours in proportion. NaN of none. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  const place = (sorted.length - 1) * share;
  const [below, above] = [sorted[Math.floor(place)] ?? Number.NaN, sorted[Math.ceil(place)] ?? Number.NaN];
  return below + (above - below) * (place - Math.floor(place));
}

export function median(values: readonly number[]): number {
  return quantile(
    values.toSorted((a, b) => a - b),
    0.5,
  );
}

/** NaN of none. */
export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Indices of `count` items in an order that the seed decides; those of a smaller `take` come first in a larger one. */
export function shuffled(count: number, seed: number): number[] {
  const random = randomFrom(seed);
  const order = Array.from({ length: count }, (_, index) => index);
  for (let i = 0; i < count - 1; i++) {
    const other = i + Math.floor(random() * (count - i));
    [order[i], order[other]] = [order[other] as number, order[i] as number];
  }
  return order;
}
