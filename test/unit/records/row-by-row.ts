/**
 * @module The report of an experiment as it is made without sums: from all rows, one by one. What the database keeps is
 * held against it.
 */
import type { ExperimentDescription } from "../../../src/experiment/report.ts";
import { differenceSequence, type Estimate, type Moments, meanSequence } from "../../../src/experiment/sequence.ts";
import { measuredMetrics } from "../../../src/policy/feedback-metrics.ts";
import type { AnswerRow, CounterfactualRow, FeedbackRow } from "../../../src/records/record.ts";

/** Units and the means of what was observed of each. */
export class UnitSample implements Moments {
  readonly #units = new Map<string, { total: number; count: number }>();
  /** Values to five binary digits → units. */
  readonly #places = new Map<number, number>();
  sum = 0;
  squares = 0;
  least = Number.POSITIVE_INFINITY;
  greatest = Number.NEGATIVE_INFINITY;

  get count(): number {
    return this.#units.size;
  }

  add(unit: string, value: number): void {
    const known = this.#units.get(unit);
    const [total, count] = [(known?.total ?? 0) + value, (known?.count ?? 0) + 1];
    const mean = total / count;
    const before = known === undefined ? 0 : known.total / known.count;
    this.#units.set(unit, { total, count });
    this.sum += mean - before;
    this.squares += mean * mean - before * before;
    this.#place(fiveDigits(mean), 1);
    if (known !== undefined) this.#place(fiveDigits(before), -1);
  }

  #place(place: number, change: 1 | -1): void {
    const units = (this.#places.get(place) ?? 0) + change;
    if (units > 0) this.#places.set(place, units);
    else this.#places.delete(place);
    if (units > 0) [this.least, this.greatest] = [Math.min(this.least, place), Math.max(this.greatest, place)];
    else if (place === this.least || place === this.greatest)
      [this.least, this.greatest] = [Math.min(...this.#places.keys()), Math.max(...this.#places.keys())];
  }
}

/** Of a number's binary digits the first five, rounded. */
export function fiveDigits(value: number): number {
  const far = value * (2 ** 48 + 1);
  return far - (far - value);
}

/** Evidence that units do not fall to the arms as their shares say: what each was worth when it came. */
function evidenceOf(shares: Readonly<Record<string, number>>, arrivals: readonly string[]): number {
  const seen = new Map<string, number>();
  let log = 0;
  for (const [total, arm] of arrivals.entries()) {
    const share = shares[arm] ?? 0;
    log += Math.log((50 * share + (seen.get(arm) ?? 0)) / (50 + total) / share);
    seen.set(arm, (seen.get(arm) ?? 0) + 1);
  }
  return Math.exp(log);
}

interface Period {
  readonly shares: string;
  since: number;
  last: number;
}

/** Everything as it was written. */
export class RowByRow {
  readonly #periods: Period[] = [];
  /** Period null: of no experiment. */
  readonly #answers = new Map<string, { row: AnswerRow; period: Period | null }>();
  readonly #feedback = new Map<string, FeedbackRow>();
  /** User → when. */
  readonly #forgotten = new Map<string, number>();
  readonly #counterfactuals = new Map<string, CounterfactualRow>();
  readonly #judgements = new Map<string, { answer: string; value: number }>();

  answer(row: AnswerRow): void {
    if (this.#answers.has(row.id) || row.at <= (this.#forgotten.get(row.user ?? "") ?? Number.NEGATIVE_INFINITY))
      return;
    if (row.experiment === null) return void this.#answers.set(row.id, { row, period: null });
    const shares = JSON.stringify(row.shares);
    const inOrder = this.#periods.toSorted(
      (a, b) => a.last - b.last || this.#periods.indexOf(a) - this.#periods.indexOf(b),
    );
    const present = inOrder.at(-1);
    const own = inOrder.findLast((period) => period.shares === shares);
    const isNew = own === undefined || (own !== present && present !== undefined && row.at >= present.last);
    const period = isNew ? { shares, since: row.at, last: row.at } : own;
    if (isNew) this.#periods.push(period);
    period.since = Math.min(period.since, row.at);
    period.last = Math.max(period.last, row.at);
    this.#answers.set(row.id, { row, period });
  }

  feedback(row: FeedbackRow): void {
    if (this.#answers.has(row.answer)) this.#feedback.set(`${row.answer} ${row.metric}`, row);
  }

  counterfactual(row: CounterfactualRow): void {
    if (this.#answers.has(row.answer) && !this.#counterfactuals.has(row.answer))
      this.#counterfactuals.set(row.answer, row);
  }

  judgement(row: { answer: string; judge: string; other: string; value: number }): void {
    if (this.#answers.has(row.answer)) this.#judgements.set(`${row.answer} ${row.judge} ${row.other}`, row);
  }

  forget(user: string, now: number): void {
    this.#forgotten.set(user, now);
    this.#delete((row) => row.user === user);
  }

  expire(before: number): void {
    this.#delete(({ at }) => at < before);
    for (const period of this.#periods) period.since = Math.max(period.since, before);
  }

  #delete(goes: (row: AnswerRow) => boolean): void {
    for (const [id, { row }] of this.#answers) {
      if (!goes(row)) continue;
      this.#answers.delete(id);
      this.#counterfactuals.delete(id);
      for (const said of [this.#feedback, this.#judgements])
        for (const [key, { answer }] of said) if (answer === id) said.delete(key);
    }
  }

  /** As `reportExperiment` says it, but for what happens over time. */
  report({ arms, unit, control, metrics: judged, ranges }: ExperimentDescription) {
    const all = [...this.#answers.values()].filter(({ period }) => period !== null);
    const filled = this.#periods.filter((period) => all.some((answer) => answer.period === period));
    const present = filled
      .toSorted((a, b) => a.last - b.last || this.#periods.indexOf(a) - this.#periods.indexOf(b))
      .at(-1);
    const rows = all.filter(({ period }) => period === present).map(({ row }) => row);
    const names = arms.map(({ name }) => name);
    const units = (arm: string) => new Set(rows.filter((row) => row.arm === arm).map(({ unit }) => unit)).size;
    const shares = (present === undefined ? {} : JSON.parse(present.shares)) as Record<string, number>;
    const total = new Set(rows.map(({ unit }) => unit)).size;
    const samples = new Map<string, Map<string, UnitSample>>();
    const leftOut = new Map<string, number>();
    const undeclared = new Set<string>();
    for (const [metric, { arm, unit }, value, isSaid] of this.#observations(rows)) {
      const range = isSaid ? ranges?.find(({ name }) => name === metric) : undefined;
      const isBeyond = range !== undefined && (value < range.min || value > range.max);
      if (isBeyond) leftOut.set(metric, (leftOut.get(metric) ?? 0) + 1);
      if (isBeyond || Math.abs(value) > 1e15) continue;
      if (isSaid && ranges !== undefined && range === undefined && !measuredMetrics.includes(metric)) {
        undeclared.add(metric);
        continue;
      }
      const ofArms = samples.get(metric) ?? new Map(names.map((name) => [name, new UnitSample()]));
      samples.set(metric, ofArms);
      ofArms.get(arm ?? "")?.add(unit ?? "", value);
    }
    const seen = [...samples.keys()].filter((metric) =>
      [...(samples.get(metric)?.values() ?? [])].some(({ count }) => count > 0),
    );
    const comparisons = judged.length * (arms.length - 1);
    const metrics = [...new Set([...judged, ...[...seen, ...leftOut.keys()].toSorted()])].map((name) => {
      const level = judged.includes(name) ? 0.05 / comparisons : 0.05;
      const sample = (arm: string): Moments => samples.get(name)?.get(arm) ?? new UnitSample();
      const shown = (arm: string, estimate: Estimate | null, mean: "mean" | "difference") =>
        estimate === null
          ? []
          : [{ arm, [mean]: estimate.value, low: bounded(estimate.low), high: bounded(estimate.high) }];
      return {
        name,
        in_verdict: judged.includes(name),
        alpha: level,
        left_out: leftOut.get(name) ?? 0,
        means: names.flatMap((arm) =>
          shown(arm, meanSequence(sample(arm), 0.05), "mean").map((one) => ({ ...one, units: sample(arm).count })),
        ),
        differences: names
          .filter((arm) => arm !== control)
          .flatMap((arm) => shown(arm, differenceSequence(sample(arm), sample(control), level), "difference")),
      };
    });
    return {
      arms: arms.map(({ name, weight, policy }) => {
        const own = rows.filter((row) => row.arm === name);
        return {
          name,
          weight,
          policies: [...new Set([policy, ...own.map((row) => row.policy)])].toSorted(),
          units: units(name),
          answers: own.length,
        };
      }),
      metrics,
      sample_ratio: {
        expected: Object.fromEntries(Object.entries(shares).map(([name, share]) => [name, share * total])),
        observed: Object.fromEntries(names.map((name) => [name, units(name)])),
        evidence: evidenceOf(shares, [...new Map(rows.map(({ unit, arm }) => [unit, arm ?? ""])).values()]),
      },
      single_unit: unit === "user" && total === 1 && rows.length >= 50,
      since: present?.since ?? null,
      earlier_answers: all.length - rows.length,
      undeclared: [...undeclared].toSorted(),
    };
  }

  #observations(
    rows: readonly AnswerRow[],
  ): (readonly [metric: string, row: AnswerRow, value: number, isSaid?: true])[] {
    return rows.flatMap((row) => {
      const { id, error } = row;
      const other = this.#counterfactuals.get(id);
      return [
        ["error", row, error === null || error === "request_cancelled" ? 0 : 1],
        ["left", row, error === "request_cancelled" ? 1 : 0],
        ...(error === null
          ? ([
              ["latency_ms", row, row.latencyMs],
              ["completion_tokens", row, row.completionTokens],
              ["work_tokens", row, row.workTokens],
              ...(row.score === null ? [] : [["score", row, row.score] as const]),
            ] as const)
          : []),
        ...(other === undefined ? [] : [["score_over_plain", row, other.chosenScore - other.score] as const]),
        ...[...this.#feedback.values()]
          .filter(({ answer }) => answer === id)
          .map(({ metric, value }) => [metric, row, value, true] as const),
        ...[...this.#judgements.values()]
          .filter(({ answer }) => answer === id)
          .map(({ value }) => ["judge", row, value] as const),
      ] as const;
    });
  }
}

function bounded(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
