/** @module What an experiment shows so far: per arm and metric means and intervals that hold however often one looks, and a sentence. */
import { differenceSequence, type Estimate, fewestUnits, type Moments, meanSequence, SampleRatio } from "./sequence.ts";

/** What the report is about; from the routes' file. */
export interface ExperimentDescription {
  readonly name: string;
  readonly route: string;
  readonly unit: string;
  readonly arms: readonly { readonly name: string; readonly policy: string; readonly weight: number }[];
  readonly control: string;
  /** What the verdict is about. */
  readonly metrics: readonly string[];
}

/** One value of one metric, in the order in which they became known. */
export interface Observation {
  readonly at: number;
  /** When the answer that it is about was asked for. */
  readonly answeredAt: number;
  readonly unit: string;
  readonly arm: string;
  readonly metric: string;
  readonly value: number;
}

/** A request of a unit, and the arm it came to; in order of arrival. */
export interface Arrival {
  readonly at: number;
  readonly unit: string;
  readonly arm: string;
  readonly policy: string;
  readonly shares: Readonly<Record<string, number>>;
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

/** `difference` = the arm's mean − the control's; `low` and `high` are null while there is too little to say. */
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
  /** The comparison began then: with the first answer, or when a weight was changed last. */
  readonly since: number | null;
  /** Answers before that, which do not count: under other weights the arms saw other times. */
  readonly earlier_answers: number;
  readonly verdict: string;
}

const alpha = 0.05;
const ratioAlarm = 100;
/** More of these is better; of what else is measured, nobody said. */
const liked: ReadonlySet<string> = new Set(["rating", "judge"]);
/** Points of a plot over time. */
const looks = 60;

/** Units are what is assigned, so they are what is counted: a unit's value is the mean of its observations. */
export function reportExperiment(
  experiment: ExperimentDescription,
  everyArrival: readonly Arrival[],
  observations: readonly Observation[],
): ExperimentReport {
  const arrivals = underPresentWeights(everyArrival);
  const since = arrivals[0]?.at ?? null;
  const arms = new Map(experiment.arms.map(({ name, policy }) => [name, { policies: new Set([policy]), units: 0, answers: 0 }]));
  const shares = arrivals[0]?.shares ?? {};
  const ratio = new SampleRatio(shares);
  const home = new Map<string, string>();
  for (const { unit, arm, policy } of arrivals) {
    const totals = arms.get(arm);
    if (!home.has(unit)) {
      home.set(unit, arm);
      ratio.add(arm);
      if (totals !== undefined) totals.units += 1;
    }
    if (totals === undefined) continue;
    totals.answers += 1;
    totals.policies.add(policy);
  }
  const counted = observations.filter(({ arm, answeredAt }) => since !== null && answeredAt >= since && arms.has(arm));
  const byMetric = new Map<string, Observation[]>();
  for (const observation of counted) {
    const list = byMetric.get(observation.metric);
    if (list === undefined) byMetric.set(observation.metric, [observation]);
    else list.push(observation);
  }
  const names = [...new Set([...experiment.metrics, ...[...byMetric.keys()].toSorted()])];
  const comparisons = experiment.metrics.length * (experiment.arms.length - 1);
  const metrics = names.map((name) => {
    const inVerdict = experiment.metrics.includes(name);
    return reportMetric(experiment, name, byMetric.get(name) ?? [], inVerdict, inVerdict ? alpha / comparisons : alpha);
  });
  const observed = Object.fromEntries([...arms].map(([name, { units }]) => [name, units]));
  const expected = Object.fromEntries(Object.entries(shares).map(([name, share]) => [name, share * home.size]));
  const sampleRatio = { expected, observed, evidence: ratio.evidence, alarm: ratio.evidence >= ratioAlarm };
  return {
    name: experiment.name,
    route: experiment.route,
    unit: experiment.unit,
    control: experiment.control,
    arms: experiment.arms.map(({ name, weight }) => {
      const totals = arms.get(name);
      return { name, weight, policies: [...(totals?.policies ?? [])], units: totals?.units ?? 0, answers: totals?.answers ?? 0 };
    }),
    metrics,
    sample_ratio: sampleRatio,
    since,
    earlier_answers: everyArrival.length - arrivals.length,
    verdict: verdictOf(experiment, metrics, comparisons, sampleRatio.alarm),
  };
}

/** Those since a weight was changed last. A unit's chances are the same in all of them, whenever it came first. */
function underPresentWeights(arrivals: readonly Arrival[]): readonly Arrival[] {
  const present = JSON.stringify(arrivals.at(-1)?.shares);
  return arrivals.slice(arrivals.findLastIndex(({ shares }) => JSON.stringify(shares) !== present) + 1);
}

function reportMetric(
  { arms, control }: ExperimentDescription,
  name: string,
  observations: readonly Observation[],
  inVerdict: boolean,
  level: number,
): MetricReport {
  const samples = new Map(arms.map((arm) => [arm.name, new UnitSample()]));
  const others = arms.filter((arm) => arm.name !== control).map((arm) => arm.name);
  const overTime = new Map<string, DifferenceReport["over_time"][number][]>(others.map((arm) => [arm, []]));
  const step = Math.max(1, Math.ceil(observations.length / looks));
  const difference = (arm: string): Estimate | null =>
    differenceSequence(samples.get(arm) as UnitSample, samples.get(control) as UnitSample, level);
  observations.forEach(({ unit, arm, value, at }, i) => {
    samples.get(arm)?.add(unit, value);
    if ((i + 1) % step !== 0 && i + 1 !== observations.length) return;
    for (const other of others) {
      const estimate = difference(other);
      const units = (samples.get(other)?.count ?? 0) + (samples.get(control)?.count ?? 0);
      if (estimate !== null) overTime.get(other)?.push({ at, units, difference: estimate.value, ...finite(estimate) });
    }
  });
  const means = [...samples].flatMap(([arm, sample]) => {
    const estimate = meanSequence(sample, alpha);
    return estimate === null ? [] : [{ arm, units: sample.count, mean: estimate.value, ...finite(estimate) }];
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

/** Units and the running means of what was observed of each. */
export class UnitSample implements Moments {
  readonly #units = new Map<string, { mean: number; count: number }>();
  sum = 0;
  squares = 0;
  least = Number.POSITIVE_INFINITY;
  greatest = Number.NEGATIVE_INFINITY;

  get count(): number {
    return this.#units.size;
  }

  add(unit: string, value: number): void {
    const known = this.#units.get(unit) ?? { mean: 0, count: 0 };
    const mean = known.mean + (value - known.mean) / (known.count + 1);
    this.sum += mean - known.mean;
    this.squares += mean * mean - known.mean * known.mean;
    this.least = Math.min(this.least, mean);
    this.greatest = Math.max(this.greatest, mean);
    this.#units.set(unit, { mean, count: known.count + 1 });
  }
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
  if (sentences.length === 0) return `Nothing can be said yet: there is no ${judged.join(" or ")} from two arms so far.`;
  const share = Number((100 * (1 - alpha)).toFixed(1));
  const hasInterval = metrics.some(({ in_verdict, differences }) => in_verdict && differences.some(({ low }) => low !== null));
  if (!hasInterval) return `${sentences.join(" ")} An interval needs at least ${fewestUnits} units in each arm.`;
  const several =
    comparisons > 1
      ? ` ${comparisons} comparisons are made; their intervals are wide enough to hold together with ${share} % confidence, at every look.`
      : ` The interval holds with ${share} % confidence, at every look.`;
  return sentences.join(" ") + several;
}

function sentencesOf({ name, differences }: MetricReport, control: string): string[] {
  return differences.map(({ arm, difference, low, high, verdict }) => {
    const interval = low === null || high === null ? "" : ` (between ${signed(low)} and ${signed(high)})`;
    if (verdict === "undecided") return `Undecided on ${name}: ${arm} differs from ${control} by ${signed(difference)} so far${interval}.`;
    const word = liked.has(name) ? { higher: "better", lower: "worse" }[verdict] : verdict;
    return `${arm} is ${word} than ${control} on ${name}, by ${signed(difference)}${interval}.`;
  });
}

function signed(value: number): string {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toPrecision(3)}`;
}
