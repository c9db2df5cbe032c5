/**
 * @module Versions of what evaluations keep. Keys cover what a result was computed from, not the code that computed it: where that code makes other
 * results of the same, a new version makes the older ones count no more. `sources` is a hash over that code; `test/unit/evaluation/versions.test.ts` says which
 * files it is, and fails when they change, so that somebody decides.
 */

export interface ResultVersion {
  readonly version: number;
  /** 16 hex digits of SHA-256. */
  readonly sources: string;
}

export const versions = {
  /** What a policy answers, and its candidates. */
  answers: { version: 2, sources: "c9a98ff1f7957ed4" },
  /** Log-probabilities of given tokens after given tokens. */
  scores: { version: 1, sources: "c31c6ec1e351e2ac" },
  rewards: { version: 1, sources: "6a97048f046aea32" },
  /** What a judge or teacher replied, word for word. */
  opinions: { version: 2, sources: "143bd4325f776eb5" },
} as const satisfies Readonly<Record<string, ResultVersion>>;
