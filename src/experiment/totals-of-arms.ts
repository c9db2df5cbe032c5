/** @module What a report is made of: sums over each arm's units. */

/**
 * Of one arm's units that came together: how many have a value of the metric, and the sums of these and of their
 * squares.
 */
export interface CohortMoments {
  readonly metric: string;
  readonly arm: string;
  readonly cohort: number;
  /** When the last of the cohort's units came. */
  readonly at: number;
  readonly units: number;
  readonly sum: number;
  readonly squares: number;
}

/** What was recorded of an experiment under its present weights. */
export interface Totals {
  /** Arm → a unit's chance to come to it. */
  readonly shares: Readonly<Record<string, number>>;
  readonly since: number;
  /** Answers under earlier weights. */
  readonly earlierAnswers: number;
  /** In the order in which they came. */
  readonly policies: readonly { readonly arm: string; readonly policy: string; readonly answers: number }[];
  /** Cohorts of a metric in the order in which they came. */
  readonly moments: readonly CohortMoments[];
  /** The least and the greatest of an arm's units' values, to five binary digits. */
  readonly extents: readonly Extent[];
  /** Metric → values of feedback out of its range, which count nowhere above. Those without are absent. */
  readonly leftOut: Readonly<Record<string, number>>;
  /** Some of the metrics of which feedback was taken, and that are not declared now. They count nowhere above. */
  readonly undeclared: readonly string[];
}

export interface Extent {
  readonly metric: string;
  readonly arm: string;
  readonly least: number;
  readonly greatest: number;
}
