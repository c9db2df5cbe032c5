/**
 * @module What an experiment shows so far: per arm and metric means and intervals that hold however often one looks,
 * and a sentence.
 */
import type { MetricRange } from "../policy/feedback-metrics.ts";
import { loneUnitRemedy, manyRequests } from "./lone-unit.ts";
import {
  differenceSequence,
  type Estimate,
  fewestUnits,
  type Moments,
  meanSequence,
  sampleRatioEvidence,
} from "./sequence.ts";
import type { CohortMoments, Totals } from "./totals-of-arms.ts";

/** What the report is about; from the routes' file. */
export interface ExperimentDescription {
  readonly name: string;
  readonly route: string;
  readonly unit: string;
  readonly arms: readonly { readonly name: string; readonly policy: string; readonly weight: number }[];
  readonly control: string;
  /** What the verdict is about. */
  readonly metrics: readonly string[];
  /**
   * What feedback may say; values that were taken in earlier times and lie elsewhere do not count. Absent: whatever was
   * recorded counts.
   */
  readonly ranges?: readonly MetricRange[];
}

export interface ArmReport {
  readonly name: string;
  /** The policies under which its answers were given, the present one first. */
  readonly policies: readonly string[];
  readonly weight: number;
  readonly units: number;
  readonly answers: number;
}

export interface MeanReport {
  readonly arm: string;
  readonly units: number;
  readonly mean: number;
  readonly low: number | null;
  readonly high: number | null;
}

/**
 * `difference` = the arm's mean − the control's; `low` and `high` are null while there is too little to say.
 * `over_time`: the same of the first so many units, in the order in which they came, each with all that is known of it
 * now.
 */
export interface DifferenceReport {
  readonly arm: string;
  readonly difference: number;
  readonly low: number | null;
  readonly high: number | null;
  readonly verdict: "higher" | "lower" | "undecided";
  readonly over_time: readonly {
    readonly at: number;
    readonly units: number;
    readonly difference: number;
    readonly low: number | null;
    readonly high: number | null;
  }[];
}

export interface MetricReport {
  readonly name: string;
  /** The verdict is about it; its intervals are as much wider as there are comparisons. */
  readonly in_verdict: boolean;
  /** Of each interval: 1 − confidence. */
  readonly alpha: number;
  /** Values of feedback out of the declared range: they do not count. */
  readonly left_out: number;
  readonly means: readonly MeanReport[];
  readonly differences: readonly DifferenceReport[];
}

export interface ExperimentReport {
  readonly name: string;
  readonly route: string;
  readonly unit: string;
  readonly control: string;
  readonly arms: readonly ArmReport[];
  readonly metrics: readonly MetricReport[];
  readonly sample_ratio: {
    readonly expected: Readonly<Record<string, number>>;
    readonly observed: Readonly<Record<string, number>>;
    /** An e-value; the alarm is raised at 100. */
    readonly evidence: number;
    readonly alarm: boolean;
  };
  /** By user, and all of many answers are one unit's: nobody is compared with anybody. */
  readonly single_unit: boolean;
  /** The comparison began then: with the first answer, or when a weight was changed last. */
  readonly since: number | null;
  /** Answers before that, which do not count: under other weights the arms saw other times. */
  readonly earlier_answers: number;
  /** Some of the metrics of which feedback was taken, and that are not declared now: they are not shown. */
  readonly undeclared: readonly string[];
  readonly verdict: string;
}

const alpha = 0.05;
const ratioAlarm = 100;
/** More of these is better; of what else is measured, nobody said. */
const liked: ReadonlySet<string> = new Set(["rating", "judge"]);
/** Points of a plot over time. */
const looks = 60;

const noTotals: Totals = {
  shares: {},
  since: 0,
  earlierAnswers: 0,
  policies: [],
  moments: [],
  extents: [],
  leftOut: {},
  undeclared: [],
};

/**
 * Units are what is assigned, so they are what is counted: a unit's value is the mean of its observations. Null:
 * nothing is recorded.
 */
export function reportExperiment(experiment: ExperimentDescription, recorded: Totals | null): ExperimentReport {
  const { shares, earlierAnswers, policies, moments, leftOut, undeclared } = recorded ?? noTotals;
  const { name, route, unit, control } = experiment;
  const arms = new Set(experiment.arms.map((arm) => arm.name));
  // Of every answer is known whether it failed: so many units came.
  const units = counted(moments.filter(({ metric }) => metric === "error"));
  const known = moments.filter(({ arm }) => arms.has(arm));
  const names = [
    ...new Set([...experiment.metrics, ...[...known.map(({ metric }) => metric), ...Object.keys(leftOut)].toSorted()]),
  ];
  const comparisons = experiment.metrics.length * (experiment.arms.length - 1);
  const metrics = names.map((metric) => {
    const inVerdict = experiment.metrics.includes(metric);
    const samples = new ArmSamples(recorded ?? noTotals, metric, arms);
    const own = known.filter((one) => one.metric === metric);
    const reported = reportMetric(experiment, metric, own, samples, inVerdict, inVerdict ? alpha / comparisons : alpha);
    return { ...reported, left_out: leftOut[metric] ?? 0 };
  });
  const total = Object.values(units).reduce((sum, count) => sum + count, 0);
  const evidence = sampleRatioEvidence(shares, units);
  const sampleRatio = {
    expected: Object.fromEntries(Object.entries(shares).map(([arm, share]) => [arm, share * total])),
    observed: Object.fromEntries([...arms].map((arm) => [arm, units[arm] ?? 0])),
    evidence,
    alarm: evidence >= ratioAlarm,
  };
  const reports = experiment.arms.map((arm): ArmReport => {
    const own = policies.filter((one) => one.arm === arm.name);
    return {
      name: arm.name,
      weight: arm.weight,
      policies: [...new Set([arm.policy, ...own.map(({ policy }) => policy)])],
      units: units[arm.name] ?? 0,
      answers: own.reduce((sum, { answers }) => sum + answers, 0),
    };
  });
  const answers = reports.reduce((sum, arm) => sum + arm.answers, 0);
  const isSingle = unit === "user" && total === 1 && answers >= manyRequests;
  return {
    name,
    route,
    unit,
    control,
    arms: reports,
    metrics,
    sample_ratio: sampleRatio,
    single_unit: isSingle,
    since: recorded?.since ?? null,
    earlier_answers: earlierAnswers,
    undeclared,
    verdict: isSingle
      ? `Nothing can be compared: all ${answers} answers are of one unit, though it is an experiment by user. ${loneUnitRemedy}`
      : verdictOf(experiment, metrics, comparisons, sampleRatio.alarm),
  };
}

/** Arm → units. */
function counted(moments: readonly CohortMoments[]): Record<string, number> {
  const units: Record<string, number> = {};
  for (const { arm, units: count } of moments) units[arm] = (units[arm] ?? 0) + count;
  return units;
}

/**
 * Each arm's sample of a metric, to which cohorts are added. How far out values lie is known of all units together
 * only.
 */
class ArmSamples {
  readonly #samples: ReadonlyMap<string, Moments & { count: number; sum: number; squares: number }>;

  constructor({ extents }: Totals, metric: string, arms: ReadonlySet<string>) {
    this.#samples = new Map(
      [...arms].map((arm) => {
        const { least, greatest } = extents.find((one) => one.arm === arm && one.metric === metric) ?? {
          least: 0,
          greatest: 0,
        };
        return [arm, { count: 0, sum: 0, squares: 0, least, greatest }];
      }),
    );
  }

  add({ arm, units, sum, squares }: CohortMoments): void {
    const sample = this.#samples.get(arm);
    if (sample === undefined) return;
    sample.count += units;
    sample.sum += sum;
    sample.squares += squares;
  }

  of(arm: string): Moments {
    return this.#samples.get(arm) as Moments;
  }
}

function reportMetric(
  { arms, control }: ExperimentDescription,
  name: string,
  moments: readonly CohortMoments[],
  samples: ArmSamples,
  inVerdict: boolean,
  level: number,
): Omit<MetricReport, "left_out"> {
  const others = arms.filter((arm) => arm.name !== control).map((arm) => arm.name);
  const overTime = new Map<string, DifferenceReport["over_time"][number][]>(others.map((arm) => [arm, []]));
  const step = moments.reduce((sum, { units }) => sum + units, 0) / looks;
  const difference = (arm: string): Estimate | null => differenceSequence(samples.of(arm), samples.of(control), level);
  let [seen, shown] = [0, 0];
  moments.forEach((cohort, i) => {
    samples.add(cohort);
    seen += cohort.units;
    const next = moments[i + 1];
    if (next !== undefined && (next.cohort === cohort.cohort || seen < shown + step)) return;
    shown = seen;
    for (const other of others) {
      const estimate = difference(other);
      const units = samples.of(other).count + samples.of(control).count;
      if (estimate !== null)
        overTime.get(other)?.push({ at: cohort.at, units, difference: estimate.value, ...finite(estimate) });
    }
  });
  const means = arms.flatMap(({ name: arm }) => {
    const estimate = meanSequence(samples.of(arm), alpha);
    return estimate === null ? [] : [{ arm, units: samples.of(arm).count, mean: estimate.value, ...finite(estimate) }];
  });
  const differences = others.flatMap((arm): DifferenceReport[] => {
    const estimate = difference(arm);
    if (estimate === null) return [];
    const verdict = estimate.low > 0 ? "higher" : estimate.high < 0 ? "lower" : "undecided";
    return [{ arm, difference: estimate.value, ...finite(estimate), verdict, over_time: overTime.get(arm) ?? [] }];
  });
  return { name, in_verdict: inVerdict, alpha: level, means, differences };
}

/** JSON knows no infinity. */
function finite({ low, high }: Estimate): { low: number | null; high: number | null } {
  return { low: Number.isFinite(low) ? low : null, high: Number.isFinite(high) ? high : null };
}

function verdictOf(
  { control, metrics: judged }: ExperimentDescription,
  metrics: readonly MetricReport[],
  comparisons: number,
  isSkewed: boolean,
): string {
  if (isSkewed)
    return "Do not trust this experiment: its units have not fallen to the arms as the weights say. Something assigns, records or loses them unevenly.";
  const sentences = metrics.filter(({ in_verdict }) => in_verdict).flatMap((metric) => sentencesOf(metric, control));
  if (sentences.length === 0)
    return `Nothing can be said yet: there is no ${judged.join(" or ")} from two arms so far.`;
  const share = Number((100 * (1 - alpha)).toFixed(1));
  const beyond = metrics.flatMap(({ name, in_verdict, left_out }) =>
    in_verdict && left_out > 0 ? [leftOutSentence(name, left_out)] : [],
  );
  sentences.push(...beyond);
  const hasInterval = metrics.some(
    ({ in_verdict, differences }) => in_verdict && differences.some(({ low }) => low !== null),
  );
  if (!hasInterval) return `${sentences.join(" ")} An interval needs at least ${fewestUnits} units in each arm.`;
  const several =
    comparisons > 1
      ? ` ${comparisons} comparisons are made; their intervals are wide enough to hold together with ${share} % confidence, at every look.`
      : ` The interval holds with ${share} % confidence, at every look.`;
  return sentences.join(" ") + several;
}

/** For people. */
export function leftOutSentence(metric: string, values: number): string {
  return `${values} ${values === 1 ? "value of" : "values of"} ${metric} out of its range ${values === 1 ? "does" : "do"} not count.`;
}

function sentencesOf({ name, differences }: MetricReport, control: string): string[] {
  return differences.map(({ arm, difference, low, high, verdict }) => {
    const interval = low === null || high === null ? "" : ` (between ${signed(low)} and ${signed(high)})`;
    if (verdict === "undecided")
      return `Undecided on ${name}: ${arm} differs from ${control} by ${signed(difference)} so far${interval}.`;
    const word = liked.has(name) ? { higher: "better", lower: "worse" }[verdict] : verdict;
    return `${arm} is ${word} than ${control} on ${name}, by ${signed(difference)}${interval}.`;
  });
}

function signed(value: number): string {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toPrecision(3)}`;
}
