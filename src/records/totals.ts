/**
 * @module What reports are made of, kept up to date by the database itself: triggers count an answer when it is
 * written, and take it out when it is deleted, whoever does it. So a report reads some thousand rows, however many
 * answers there are.
 *
 * Answers under the same weights are a period of their experiment. Its units come in cohorts, in the order in which
 * they came, each a thirty-second as many as all before. A unit's value of a metric is the mean of its observations
 * (`sums`); of these values each arm's `moments` hold the number, the sum and the sum of squares by cohort, and
 * `extents` how many units have which value, to five binary digits.
 */
import { largestValue } from "../policy/feedback-metrics.ts";
import type { SqlClient } from "./sql.ts";

/** The error of an answer for which its client did not wait: no failure. */
const leftCode = "request_cancelled";

export const totalsTables: readonly string[] = [
  "ALTER TABLE answers ADD COLUMN member INTEGER",
  `CREATE INDEX answers_uncounted ON answers (at) WHERE member IS NULL AND experiment IS NOT NULL AND arm IS NOT NULL AND unit IS NOT NULL AND shares IS NOT NULL`,
  `CREATE TABLE periods (number INTEGER PRIMARY KEY, experiment TEXT NOT NULL, shares TEXT NOT NULL, since INTEGER NOT NULL, last INTEGER NOT NULL,
    answers INTEGER NOT NULL, units INTEGER NOT NULL, cohort INTEGER NOT NULL, room INTEGER NOT NULL)`,
  "CREATE INDEX periods_by_experiment ON periods (experiment, last)",
  "CREATE TABLE cohorts (period INTEGER NOT NULL, cohort INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (period, cohort)) WITHOUT ROWID",
  `CREATE TABLE units (number INTEGER PRIMARY KEY, period INTEGER NOT NULL, unit TEXT NOT NULL, arm TEXT NOT NULL, cohort INTEGER NOT NULL,
    answers INTEGER NOT NULL, UNIQUE (period, unit, arm))`,
  "CREATE TABLE arm_policies (period INTEGER NOT NULL, arm TEXT NOT NULL, policy TEXT NOT NULL, answers INTEGER NOT NULL, PRIMARY KEY (period, arm, policy))",
  `CREATE TABLE sums (unit INTEGER NOT NULL, metric TEXT NOT NULL, count INTEGER NOT NULL, total REAL NOT NULL, total_rest REAL NOT NULL,
    PRIMARY KEY (unit, metric)) WITHOUT ROWID`,
  `CREATE TABLE moments (period INTEGER NOT NULL, metric TEXT NOT NULL, cohort INTEGER NOT NULL, arm TEXT NOT NULL, units INTEGER NOT NULL,
    sum REAL NOT NULL, sum_rest REAL NOT NULL, squares REAL NOT NULL, squares_rest REAL NOT NULL, PRIMARY KEY (period, metric, cohort, arm)) WITHOUT ROWID`,
  `CREATE TABLE extents (period INTEGER NOT NULL, metric TEXT NOT NULL, arm TEXT NOT NULL, value REAL NOT NULL, units INTEGER NOT NULL,
    PRIMARY KEY (period, metric, arm, value)) WITHOUT ROWID`,
];

/**
 * SET clauses: adds to a sum what rounding does not lose (Neumaier), so that what is taken out again leaves no trace.
 */
function adding(column: string, value: string): string {
  const next = `(${column} + ${value})`;
  const lost = `CASE WHEN abs(${column}) >= abs(${value}) THEN (${column} - ${next}) + ${value} ELSE (${value} - ${next}) + ${column} END`;
  return `${column} = ${next}, ${column}_rest = ${column}_rest + ${lost}`;
}

/** `observations`: SELECT unit, metric, value. */
function observe(observations: string): string {
  return `INSERT INTO sums (unit, metric, count, total, total_rest)
    SELECT unit, metric, 1, CAST(value AS REAL), 0 FROM (${observations}) WHERE unit > 0 AND abs(value) <= ${largestValue}
    ON CONFLICT (unit, metric) DO UPDATE SET count = count + 1, ${adding("total", "excluded.total")};`;
}

/** The same; of each unit and metric one. */
function withdraw(observations: string): string {
  return `UPDATE sums SET count = count - 1, ${adding("total", "(- o.value)")} FROM (${observations}) AS o
    WHERE sums.unit = o.unit AND sums.metric = o.metric AND abs(o.value) <= ${largestValue};`;
}

/** What every answer tells by itself. Of what failed, or was left, neither time nor length nor score is known. */
function measured(row: "NEW" | "OLD"): string {
  const isKnown = ["latency_ms", "completion_tokens", "work_tokens", "score"].map(
    (column) => `('${column}', CASE WHEN ${row}.error IS NULL THEN ${row}.${column} END)`,
  );
  const ends = [
    `('error', coalesce(${row}.error <> '${leftCode}', 0))`,
    `('left', coalesce(${row}.error = '${leftCode}', 0))`,
  ];
  // Not a UNION: D1 takes five parts of one at most.
  return `SELECT column1 AS metric, column2 AS value FROM (VALUES ${[...ends, ...isKnown].join(", ")})`;
}

function isAssigned(row: string): string {
  return ["experiment", "arm", "unit", "shares"].map((column) => `${row}${column} IS NOT NULL`).join(" AND ");
}

/** The period with the new answer's weights that was the last to get one. */
const ownPeriod =
  "(SELECT number FROM periods WHERE experiment = NEW.experiment AND shares = NEW.shares ORDER BY last DESC, number DESC LIMIT 1)";
const ownUnit = `(SELECT number FROM units WHERE period = ${ownPeriod} AND unit = NEW.unit AND arm = NEW.arm)`;

/**
 * A period ends with the first answer under other weights. What was begun before that, and is recorded later, still
 * belongs to it.
 */
const countAnswer = `
  INSERT INTO periods (experiment, shares, since, last, answers, units, cohort, room)
    SELECT NEW.experiment, NEW.shares, NEW.at, NEW.at, 0, 0, -1, 0 WHERE NOT EXISTS (
      SELECT 1 FROM periods WHERE experiment = NEW.experiment AND shares = NEW.shares AND (
        NEW.at < (SELECT max(last) FROM periods WHERE experiment = NEW.experiment)
        OR number = (SELECT number FROM periods WHERE experiment = NEW.experiment ORDER BY last DESC, number DESC LIMIT 1)));
  UPDATE periods SET answers = answers + 1, since = min(since, NEW.at), last = max(last, NEW.at) WHERE number = ${ownPeriod};
  INSERT INTO units (period, unit, arm, cohort, answers)
    SELECT number, NEW.unit, NEW.arm, CASE room WHEN 0 THEN cohort + 1 ELSE cohort END, 1 FROM periods WHERE number = ${ownPeriod}
    ON CONFLICT (period, unit, arm) DO UPDATE SET answers = answers + 1;
  UPDATE answers SET member = ${ownUnit} WHERE rowid = NEW.rowid;
  INSERT INTO cohorts (period, cohort, at)
    SELECT u.period, u.cohort, NEW.at FROM answers a JOIN units u ON u.number = a.member WHERE a.rowid = NEW.rowid AND u.answers = 1
    ON CONFLICT (period, cohort) DO UPDATE SET at = max(at, excluded.at);
  INSERT INTO arm_policies (period, arm, policy, answers)
    SELECT u.period, u.arm, NEW.policy, 1 FROM answers a JOIN units u ON u.number = a.member WHERE a.rowid = NEW.rowid
    ON CONFLICT (period, arm, policy) DO UPDATE SET answers = answers + 1;
  ${observe(`SELECT a.member AS unit, o.metric, o.value FROM answers a JOIN (
    ${measured("NEW")}
    UNION ALL SELECT metric, value FROM feedback WHERE answer = NEW.id
    UNION ALL SELECT 'judge', value FROM judgements WHERE answer = NEW.id
    UNION ALL SELECT 'score_over_plain', chosen_score - score FROM counterfactuals WHERE answer = NEW.id) o WHERE a.rowid = NEW.rowid`)}`;

/** What is said of an answer, once that is counted. */
function saidOf(row: "NEW" | "OLD", metric: string, value: string): string {
  return `SELECT member AS unit, ${metric} AS metric, ${value} AS value FROM answers WHERE id = ${row}.answer`;
}

function sayings(
  table: string,
  metric: (row: "NEW" | "OLD") => string,
  value: (row: "NEW" | "OLD") => string,
): string[] {
  const [added, removed] = [
    observe(saidOf("NEW", metric("NEW"), value("NEW"))),
    withdraw(saidOf("OLD", metric("OLD"), value("OLD"))),
  ];
  return [
    `CREATE TRIGGER ${table}_added AFTER INSERT ON ${table} BEGIN ${added} END`,
    `CREATE TRIGGER ${table}_changed AFTER UPDATE ON ${table} WHEN ${value("NEW")} <> ${value("OLD")} BEGIN ${removed} ${added} END`,
    `CREATE TRIGGER ${table}_removed AFTER DELETE ON ${table} BEGIN ${removed} END`,
  ];
}

function meanOf(row: "NEW" | "OLD"): string {
  return `((${row}.total + ${row}.total_rest) / ${row}.count)`;
}

/** To five binary digits (Veltkamp): 2⁴⁸ + 1 times the value, and back. */
export function rounded(value: string): string {
  return `(${value} * 281474976710657.0 - (${value} * 281474976710657.0 - ${value}))`;
}

function valueOfUnit(row: "NEW" | "OLD"): string {
  return `SELECT period, ${row}.metric AS metric, cohort, arm, ${meanOf(row)} AS value FROM units WHERE number = ${row}.unit`;
}

const putValue = `
  INSERT INTO moments (period, metric, cohort, arm, units, sum, sum_rest, squares, squares_rest)
    SELECT period, metric, cohort, arm, 1, value, 0, value * value, 0 FROM (${valueOfUnit("NEW")}) WHERE value IS NOT NULL
    ON CONFLICT (period, metric, cohort, arm) DO UPDATE SET units = units + 1, ${adding("sum", "excluded.sum")}, ${adding("squares", "excluded.squares")};
  INSERT INTO extents (period, metric, arm, value, units)
    SELECT period, metric, arm, ${rounded("value")}, 1 FROM (${valueOfUnit("NEW")}) WHERE value IS NOT NULL
    ON CONFLICT (period, metric, arm, value) DO UPDATE SET units = units + 1;`;

const takeValue = `
  UPDATE moments SET units = units - 1, ${adding("sum", "(- o.value)")}, ${adding("squares", "(- o.value * o.value)")} FROM (${valueOfUnit("OLD")}) AS o
    WHERE moments.period = o.period AND moments.metric = o.metric AND moments.cohort = o.cohort AND moments.arm = o.arm;
  DELETE FROM moments WHERE (period, metric, cohort, arm) IN (SELECT period, metric, cohort, arm FROM (${valueOfUnit("OLD")})) AND units = 0;
  UPDATE extents SET units = units - 1 FROM (${valueOfUnit("OLD")}) AS o
    WHERE extents.period = o.period AND extents.metric = o.metric AND extents.arm = o.arm AND extents.value = ${rounded("o.value")};
  DELETE FROM extents WHERE (period, metric, arm, value) IN (SELECT period, metric, arm, ${rounded("value")} FROM (${valueOfUnit("OLD")})) AND units = 0;`;

export const totalsTriggers: readonly string[] = [
  // What was recorded before there were totals is counted first, in order.
  `CREATE TRIGGER answers_added AFTER INSERT ON answers WHEN ${isAssigned("NEW.")}
    AND NOT EXISTS (SELECT 1 FROM answers INDEXED BY answers_uncounted WHERE member IS NULL AND ${isAssigned("")} AND rowid <> NEW.rowid) BEGIN ${countAnswer} END`,
  `CREATE TRIGGER answers_counted AFTER UPDATE OF member ON answers WHEN OLD.member IS NULL AND NEW.member = 0 BEGIN ${countAnswer} END`,
  `CREATE TRIGGER answers_removed AFTER DELETE ON answers WHEN OLD.member IS NOT NULL BEGIN
    ${withdraw(`SELECT OLD.member AS unit, metric, value FROM (${measured("OLD")})`)}
    UPDATE periods SET answers = answers - 1 WHERE number = (SELECT period FROM units WHERE number = OLD.member);
    UPDATE arm_policies SET answers = answers - 1
      WHERE (period, arm) = (SELECT period, arm FROM units WHERE number = OLD.member) AND policy = OLD.policy;
    DELETE FROM arm_policies WHERE (period, arm) = (SELECT period, arm FROM units WHERE number = OLD.member) AND policy = OLD.policy AND answers = 0;
    UPDATE units SET answers = answers - 1 WHERE number = OLD.member;
    DELETE FROM units WHERE number = OLD.member AND answers = 0;
  END`,
  `CREATE TRIGGER units_added AFTER INSERT ON units BEGIN
    UPDATE periods SET units = units + 1, cohort = NEW.cohort, room = CASE room WHEN 0 THEN units / 32 ELSE room - 1 END WHERE number = NEW.period;
  END`,
  ...sayings(
    "feedback",
    (row) => `${row}.metric`,
    (row) => `${row}.value`,
  ),
  ...sayings(
    "judgements",
    () => "'judge'",
    (row) => `${row}.value`,
  ),
  ...sayings(
    "counterfactuals",
    () => "'score_over_plain'",
    (row) => `(${row}.chosen_score - ${row}.score)`,
  ),
  `CREATE TRIGGER sums_added AFTER INSERT ON sums BEGIN ${putValue} END`,
  `CREATE TRIGGER sums_changed AFTER UPDATE ON sums WHEN NEW.count = 0 OR ${meanOf("NEW")} <> ${meanOf("OLD")} BEGIN
    ${takeValue} ${putValue}
    DELETE FROM sums WHERE unit = NEW.unit AND metric = NEW.metric AND count = 0;
  END`,
];

/** Answers counted at once: others may write in between. */
const portion = 500;

/** Counts some of what was recorded before there were totals. Whether some is left. */
export async function countUncounted(client: SqlClient): Promise<boolean> {
  const { rowsAffected } = await client.execute({
    sql: `UPDATE answers SET member = 0 WHERE rowid IN (SELECT rowid FROM answers INDEXED BY answers_uncounted
      WHERE member IS NULL AND ${isAssigned("")} ORDER BY at, rowid LIMIT ?)`,
    args: [portion],
  });
  return rowsAffected > 0;
}
