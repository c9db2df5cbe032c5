/** @module One prompt's answers, with all that is measured of them. */
import type { Sums } from "./pools.ts";

/** An answer with all that is measured of it. */
export interface MeasuredAnswer {
  readonly text: string;
  readonly finish: "stop" | "length";
  /** Without the closing token. */
  readonly tokens: number;
  /** Measure → its value; null: the prompt has not what the measure takes. */
  readonly rewards: Readonly<Record<string, number | null>>;
  /** Share of its five-word sequences that a demonstration shown has. */
  readonly copied: number;
  readonly cost: Cost;
}

/** Of an answer: by the pipeline, as it was; from a pool, by its share of the pool's tokens. */
export interface Cost {
  readonly sampled: number;
  readonly scored: number;
  readonly seconds: number;
}

export interface Candidate extends MeasuredAnswer {
  readonly sums: Sums;
  /** Beyond `cost`: of feeding it after one context. */
  readonly scoring: Pick<Cost, "scored" | "seconds">;
}

/** One prompt's answers. */
export interface PoolRow {
  readonly set: string;
  readonly id: string;
  /** Ids of those that the pool was sampled with, most similar first. */
  readonly demonstrations: readonly string[];
  readonly pool: readonly Candidate[];
  /** `[pool][pool]`; empty where nobody asks for them. */
  readonly cosines: readonly (readonly number[])[];
  readonly plain: readonly MeasuredAnswer[];
  readonly instructions: readonly MeasuredAnswer[];
  readonly greedy: MeasuredAnswer | null;
  readonly plainGreedy: MeasuredAnswer | null;
  /** Answered by the pipeline, by policy. */
  readonly policies: Readonly<Record<string, MeasuredAnswer>>;
}
