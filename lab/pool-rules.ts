/** @module Ways of choosing among a pool's answers by what was measured of them: the largest value wins. */
import { type PolicySettings, rewardAsked, wantsConsensus } from "icdpo-gateway/laboratory";
import type { Candidate, PoolRow } from "./measured-pool.ts";
import type { Sums } from "./pools.ts";

export interface Rule {
  readonly name: string;
  readonly family: OptionalArm | null;
  /** `[candidates]` of those that compete; null: it has no value. */
  readonly values: (row: PoolRow, competing: readonly Candidate[]) => readonly (number | null)[];
  /** Contexts that candidates are fed to after they have been sampled. */
  readonly contexts: number;
}

/** log π(y ∣ C⁺), S and Ŝ. */
export const poolScorers = ["likelihood", "S", "Ŝ"] as const;
export type PoolScorer = (typeof poolScorers)[number];
/** Sums of log-probabilities, per token, or less what the policy's answers have for their length. */
export const lengthForms = ["", " per token", " less β·tokens"] as const;
type LengthForm = (typeof lengthForms)[number];

export const longestArm = "longest";

/** Families that can be left out; the others are always there. */
export const optionalArms = ["greedy", "instructions", "likelihood", "s", "s-hat", "consensus"] as const;
export type OptionalArm = (typeof optionalArms)[number];
const familyOf = { likelihood: "likelihood", S: "s", Ŝ: "s-hat" } as const satisfies Record<PoolScorer, OptionalArm>;

const formOf = { sum: "", token: " per token", length: " less β·tokens" } as const satisfies Record<
  Extract<PolicySettings["score"], { normalize: unknown }>["normalize"],
  LengthForm
>;

/** The arm that chooses as the policy does; null where it scores nothing that a pool has, or more than that counts. */
export function armOfScore(score: PolicySettings["score"]): string | null {
  if (score.type === "none" || score.type === "reward" || rewardAsked(score) !== null) return null;
  if (score.type === "contrast" && score.negative === "reference") return null;
  if (wantsConsensus(score) || score.unfinished === "last" || score.copied === "last") return null;
  // A pool's C⁻ shows what the policy's does, near negatives too.
  const scorer = score.type === "likelihood" ? "likelihood" : score.negative === "base" ? "S" : "Ŝ";
  return `${scorer}${formOf[score.normalize]}`;
}

/** Arms that choose one of a pool's answers. */
export function choosingArms(rewards: readonly string[]): string[] {
  return [
    ...poolScorers.flatMap((scorer) => lengthForms.map((form) => `${scorer}${form}`)),
    consensusRule.name,
    ...rewards.map((measure) => rewardRule(measure).name),
    longestRule.name,
    shortestRule.name,
  ];
}

/** All of them; `rewards`: measures that may choose, as a reward model does. */
export function poolRules(rows: readonly PoolRow[], rewards: readonly string[]): Rule[] {
  return [...scoreRules(rows), consensusRule, ...rewards.map(rewardRule), longestRule, shortestRule];
}

function scoreRules(rows: readonly PoolRow[]): Rule[] {
  return poolScorers.flatMap((scorer) => {
    const slopes = slopesOf(rows, scorer);
    return lengthForms.map((form) => ({
      name: `${scorer}${form}`,
      family: familyOf[scorer],
      values: (row: PoolRow, competing: readonly Candidate[]) =>
        competing.map(({ sums }) => formed(scoreBy(scorer, sums), sums.tokens, form, slopes.get(row) ?? null)),
      contexts: scorer === "likelihood" ? 0 : 1,
    }));
  });
}

/** In nats. */
function scoreBy(scorer: PoolScorer, { positive, negative, base }: Sums): number | null {
  switch (scorer) {
    case "likelihood":
      return positive ?? base;
    case "S":
      return positive === null ? null : positive - base;
    case "Ŝ":
      return positive === null || negative === null ? null : positive - negative;
  }
}

function formed(score: number | null, tokens: number, form: LengthForm, slope: number | null): number | null {
  if (score === null) return null;
  if (form === "") return score;
  if (form === " per token") return score / tokens;
  return slope === null ? null : score - slope * tokens;
}

/**
 * Row → β, in nats per token: Σ score / Σ tokens over the candidates of all rows but this one, so that no answer takes
 * part in what it is measured by. Null of a single row.
 */
export function slopesOf(rows: readonly PoolRow[], scorer: PoolScorer): Map<PoolRow, number | null> {
  const totals = rows.map(({ pool }) => {
    const scores = pool.map(({ sums }) => ({ score: scoreBy(scorer, sums), tokens: sums.tokens }));
    const known = scores.flatMap(({ score, tokens }) => (score === null ? [] : [{ score, tokens }]));
    return { score: sum(known, ({ score }) => score), tokens: sum(known, ({ tokens }) => tokens) };
  });
  const all = { score: sum(totals, ({ score }) => score), tokens: sum(totals, ({ tokens }) => tokens) };
  return new Map(
    rows.map((row, i) => {
      const own = totals[i] ?? { score: 0, tokens: 0 };
      const tokens = all.tokens - own.tokens;
      return [row, tokens === 0 ? null : (all.score - own.score) / tokens];
    }),
  );
}

/** The mean cosine to the others that compete and are not empty. */
const consensusRule: Rule = {
  name: "consensus",
  family: "consensus",
  values: ({ cosines }, competing) =>
    competing.map((_, i) => {
      const others = competing.flatMap(({ text }, j) => (i === j || text === "" ? [] : (cosines[i]?.[j] ?? [])));
      return others.length === 0 ? null : sum(others, (value) => value) / others.length;
    }),
  contexts: 0,
};

const longestRule: Rule = {
  name: longestArm,
  family: null,
  values: (_, competing) => competing.map(({ tokens }) => tokens),
  contexts: 0,
};

const shortestRule: Rule = {
  name: "shortest",
  family: null,
  values: (_, competing) => competing.map(({ tokens }) => -tokens),
  contexts: 0,
};

/** What it costs to reward them is not known here. */
function rewardRule(measure: string): Rule {
  return {
    name: `chosen by ${measure}`,
    family: null,
    values: (_, competing) => competing.map(({ rewards }) => rewards[measure] ?? null),
    contexts: 0,
  };
}

export function sum<Item>(items: readonly Item[], of: (item: Item) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
