/** @module The arms that one pool of answers has: which of them each way of choosing would give, at what cost. */
import type { Cost, MeasuredAnswer, PoolRow } from "./measured-pool.ts";
import { type OptionalArm, poolRules, type Rule, sum } from "./pool-rules.ts";

export interface PoolArm {
  readonly name: string;
  /** n, how many of the pool it chooses among; null: it takes none of them. */
  readonly size: number | null;
  /** Whose mean the arm has on a prompt; an oracle's depend on the measure. Empty: the arm has none there. */
  readonly answers: (row: PoolRow, measure: string) => readonly MeasuredAnswer[];
  /** Of one answer of the arm, what it was chosen from included. */
  readonly cost: (row: PoolRow) => Cost | null;
}

export const plainArm = "plain";

export interface ArmOptions {
  /** n of each arm from the pool: the first n candidates. The first number's arms are all there. */
  readonly sizes: readonly number[];
  /** Whose choice the hypotheses are about. */
  readonly chosen: string;
  readonly families: readonly OptionalArm[];
  /** Measures that may choose, as a reward model does. */
  readonly rewards: readonly string[];
}

export const randomArm = (size: number): string => `random pick of ${size}`;
export const oracleArm = (size: number): string => `best of ${size}`;

export function poolArms(rows: readonly PoolRow[], { sizes, chosen, families, rewards }: ArmOptions): PoolArm[] {
  const [size = 1, ...others] = sizes;
  const has = (family: OptionalArm): boolean => families.includes(family);
  const rules = poolRules(rows, rewards);
  const wanted = rules.filter(({ name, family }) => family === null || has(family) || name === chosen);
  const ofOtherSizes = others.flatMap((n) => [
    randomPick(n),
    ...rules.filter(({ name }) => name === chosen).map((rule) => pickedBy(rule, n, `${rule.name}, of ${n}`)),
    oracle(n),
  ]);
  return [
    given(plainArm, ({ plain }) => plain),
    ...(has("greedy") ? [given("plain, greedy", ({ plainGreedy }) => single(plainGreedy))] : []),
    ...(has("instructions") ? [given("instructions only", ({ instructions }) => instructions)] : []),
    ...(has("greedy") ? [given("greedy", ({ greedy }) => single(greedy))] : []),
    randomPick(size),
    ...wanted.map((rule) => pickedBy(rule, size, rule.name)),
    oracle(size),
    ...ofOtherSizes,
    ...[...new Set(rows.flatMap(({ policies }) => Object.keys(policies)))].map((name) =>
      given(`policy ${name}`, ({ policies }) => single(policies[name] ?? null)),
    ),
  ];
}

function single(answer: MeasuredAnswer | null): readonly MeasuredAnswer[] {
  return answer === null ? [] : [answer];
}

/** Answers as they are: the arm's value is their mean, and one of them is what it costs. */
function given(
  name: string,
  answers: (row: PoolRow) => readonly MeasuredAnswer[],
  size: number | null = null,
): PoolArm {
  return { name, size, answers, cost: (row) => meanCost(answers(row)) };
}

/** In expectation: the mean of the first n. */
function randomPick(size: number): PoolArm {
  return given(randomArm(size), ({ pool }) => pool.slice(0, size), size);
}

/** The best by the measure itself: no choice among the first n does better. */
function oracle(size: number): PoolArm {
  return {
    name: oracleArm(size),
    size,
    answers: ({ pool }, measure) => {
      const first = pool.slice(0, size);
      const values = first.map(({ rewards }) => rewards[measure] ?? null);
      return values.includes(null) ? [] : single(first[best(values)] ?? null);
    },
    cost: ({ pool }) => sumOfCosts(pool.slice(0, size)),
  };
}

/** Ties: the lower index. An empty candidate wins only if all are empty, as in the pipeline. */
function pickedBy({ values, contexts }: Rule, size: number, name: string): PoolArm {
  return {
    name,
    size,
    answers: (row) => {
      const competing = row.pool.slice(0, size);
      const full = competing.filter(({ text }) => text !== "");
      const found = values(row, competing);
      if (competing.some(({ text }, i) => text !== "" && found[i] === null)) return [];
      const winner = best(competing.map(({ text }, i) => (text === "" && full.length > 0 ? null : (found[i] ?? 0))));
      return single(competing[winner] ?? null);
    },
    cost: ({ pool }) => {
      const competing = pool.slice(0, size);
      const sampled = sumOfCosts(competing);
      return {
        ...sampled,
        scored: sampled.scored + contexts * sum(competing, ({ scoring }) => scoring.scored),
        seconds: sampled.seconds + contexts * sum(competing, ({ scoring }) => scoring.seconds),
      };
    },
  };
}

/** The index of the largest value, the lowest of several. */
function best(values: readonly (number | null)[]): number {
  return values.reduce<number>((winner, value, i) => (isMore(value, values[winner] ?? null) ? i : winner), 0);
}

function isMore(value: number | null, than: number | null): boolean {
  return value !== null && (than === null || value > than);
}

function sumOfCosts(answers: readonly MeasuredAnswer[]): Cost {
  return {
    sampled: sum(answers, ({ cost }) => cost.sampled),
    scored: sum(answers, ({ cost }) => cost.scored),
    seconds: sum(answers, ({ cost }) => cost.seconds),
  };
}

function meanCost(answers: readonly MeasuredAnswer[]): Cost | null {
  if (answers.length === 0) return null;
  const { sampled, scored, seconds } = sumOfCosts(answers);
  return { sampled: sampled / answers.length, scored: scored / answers.length, seconds: seconds / answers.length };
}
