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
