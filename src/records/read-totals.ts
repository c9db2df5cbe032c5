/**
 * @module Reads what a report is made of: the sums that the database keeps. They hold whatever was recorded. Where
 * feedback from before a metric was declared, or its range was changed, lies out of range, that metric's values are
 * summed up again without these.
 */
import type { CohortMoments, Extent, Totals } from "../experiment/totals-of-arms.ts";
import { largestValue, type MetricRange, measuredMetrics } from "../policy/feedback-metrics.ts";
import type { Row, SqlClient, SqlResult, SqlValue, Statement } from "./sql.ts";
import { rounded } from "./totals.ts";

/** As many as a report names. */
const mostUndeclared = 16;

const present =
  "(SELECT number FROM periods WHERE experiment = ?1 AND answers > 0 ORDER BY last DESC, number DESC LIMIT 1)";

/**
 * All of one moment. Null: nothing is recorded. `ranges`: of feedback; absent: whatever was recorded counts. `between`:
 * called between two steps.
 */
export async function readTotals(
  client: SqlClient,
  experiment: string,
  ranges?: readonly MetricRange[],
  between: () => void = () => {},
): Promise<Totals | null> {
  // A metric whose values are all in range, as always where the gateway has checked them, need not be looked at again.
  const leftOut = ranges === undefined ? {} : await countLeftOut(client, experiment, ranges);
  between();
  const again = (ranges ?? []).filter(({ name }) => leftOut[name] !== undefined);
  const counted =
    ranges && [...measuredMetrics, ...ranges.map(({ name }) => name)].filter((name) => leftOut[name] === undefined);
  const [periods, policies, moments, extents, undeclared, ...summedUp] = await client.batch(
    [
      reading(
        `SELECT p.shares, p.since, (SELECT sum(answers) FROM periods WHERE experiment = p.experiment) - p.answers AS earlier
          FROM periods p WHERE p.number = ${present}`,
        experiment,
      ),
      reading(`SELECT arm, policy, answers FROM arm_policies WHERE period = ${present} ORDER BY rowid`, experiment),
      reading(
        `SELECT m.metric, m.arm, m.cohort, c.at, m.units, m.sum + m.sum_rest AS sum, m.squares + m.squares_rest AS squares
          FROM moments m JOIN cohorts c ON c.period = m.period AND c.cohort = m.cohort
          WHERE m.period = ${present}${among("m.metric", counted)} ORDER BY m.metric, m.cohort`,
        experiment,
        ...(counted ?? []),
      ),
      reading(
        `SELECT metric, arm, min(value) AS least, max(value) AS greatest FROM extents
          WHERE period = ${present}${among("metric", counted)} GROUP BY metric, arm`,
        experiment,
        ...(counted ?? []),
      ),
      namesBeside(experiment, ranges),
      ...again.map((range) => sumUp(experiment, range)),
    ],
    "read",
  );
  const period = periods?.rows[0];
  if (period === undefined) return null;
  const own = again.map((range, i) => summed(range.name, summedUp[i]));
  return {
    shares: JSON.parse(String(period["shares"])),
    since: Number(period["since"]),
    earlierAnswers: Number(period["earlier"]),
    policies: (policies?.rows ?? []).map((row) => ({
      arm: String(row["arm"]),
      policy: String(row["policy"]),
      answers: Number(row["answers"]),
    })),
    moments: [
      ...(moments?.rows ?? []).map((row) => momentsOf(String(row["metric"]), row)),
      ...own.flatMap((one) => one.moments),
    ],
    extents: [
      ...(extents?.rows ?? []).map((row) => extentOf(String(row["metric"]), row)),
      ...own.flatMap((one) => one.extents),
    ],
    leftOut,
    undeclared: (undeclared?.rows ?? []).map((row) => String(row["metric"])),
  };
}

function reading(sql: string, ...args: SqlValue[]): Statement {
  return { sql, args };
}

/** A condition; the values are those from ?2 on. */
function among(column: string, values: readonly string[] | undefined): string {
  return values === undefined ? "" : ` AND ${column} IN (${values.map((_, i) => `?${i + 2}`).join(", ")})`;
}

/**
 * Metric → values of the present period's answers that are out of range. Few rows are read where there are few (CROSS
 * JOIN: in this order).
 */
async function countLeftOut(
  client: SqlClient,
  experiment: string,
  ranges: readonly MetricRange[],
): Promise<Record<string, number>> {
  const beyond = (
    condition: string,
  ): string => `(SELECT count(*) FROM feedback f CROSS JOIN answers a ON a.id = f.answer
    CROSS JOIN units u ON u.number = a.member WHERE f.metric = ?2 AND f.value ${condition} AND u.period = ${present})`;
  const results = await client.batch(
    ranges.map(({ name, min, max }) =>
      reading(`SELECT ${beyond("< ?3")} + ${beyond("> ?4")} AS left_out`, experiment, name, min, max),
    ),
    "read",
  );
  const counts = ranges.map(({ name }, i) => [name, Number(results[i]?.rows[0]?.["left_out"] ?? 0)] as const);
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}

function namesBeside(experiment: string, ranges: readonly MetricRange[] | undefined): Statement {
  if (ranges === undefined) return reading("SELECT NULL AS metric WHERE ?1 IS NULL", experiment);
  const known = [...measuredMetrics, ...ranges.map(({ name }) => name)];
  const list = known.map((_, i) => `?${i + 2}`).join(", ");
  const sql = `SELECT DISTINCT metric FROM moments WHERE period = ${present} AND metric NOT IN (${list}) ORDER BY metric LIMIT ${mostUndeclared}`;
  return reading(sql, experiment, ...known);
}

/** A metric's moments and extents by cohort and arm, of the values in range. */
function sumUp(experiment: string, { name, min, max }: MetricRange): Statement {
  const sql = `SELECT u.arm, u.cohort, c.at, count(*) AS units, sum(o.value) AS sum, sum(o.value * o.value) AS squares,
      min(${rounded("o.value")}) AS least, max(${rounded("o.value")}) AS greatest
    FROM (SELECT a.member AS unit, sum(f.value) / count(*) AS value FROM feedback f JOIN answers a ON a.id = f.answer
      WHERE f.metric = ?2 AND f.value >= ?3 AND f.value <= ?4 AND abs(f.value) <= ${largestValue} GROUP BY a.member) o
    JOIN units u ON u.number = o.unit JOIN cohorts c ON c.period = u.period AND c.cohort = u.cohort
    WHERE u.period = ${present} GROUP BY u.cohort, u.arm ORDER BY u.cohort`;
  return reading(sql, experiment, name, min, max);
}

function summed(metric: string, result: SqlResult | undefined): Pick<Totals, "moments" | "extents"> {
  const rows = result?.rows ?? [];
  const extents = new Map<string, Extent>();
  for (const row of rows) {
    const next = extentOf(metric, row);
    const { least, greatest } = extents.get(next.arm) ?? next;
    extents.set(next.arm, { ...next, least: Math.min(least, next.least), greatest: Math.max(greatest, next.greatest) });
  }
  return { moments: rows.map((row) => momentsOf(metric, row)), extents: [...extents.values()] };
}

function momentsOf(metric: string, row: Row): CohortMoments {
  return {
    metric,
    arm: String(row["arm"]),
    cohort: Number(row["cohort"]),
    at: Number(row["at"]),
    units: Number(row["units"]),
    sum: Number(row["sum"]),
    squares: Number(row["squares"]),
  };
}

function extentOf(metric: string, row: Row): Extent {
  return { metric, arm: String(row["arm"]), least: Number(row["least"]), greatest: Number(row["greatest"]) };
}
