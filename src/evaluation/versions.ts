/**
 * @module Versions of what evaluations keep. Keys cover what a result was computed from, not the code that computed it: where that code makes other
 * results of the same, a new version makes the older ones count no more. `sources` is a hash over that code; `test/unit/versions.test.ts` says which
 * files it is, and fails when they change, so that somebody decides.
 */

export interface ResultVersion {
  readonly version: number;
  /** 16 hex digits of SHA-256. */
  readonly sources: string;
}

export const versions = {
  /** What a policy answers, and its candidates. */
  answers: { version: 2, sources: "23c401269cb2a546" },
  /** Log-probabilities of given tokens after given tokens. */
  scores: { version: 1, sources: "120ce9cd5d1955cb" },
  rewards: { version: 1, sources: "a172143dc34db962" },
  /** What a judge or teacher replied, word for word. */
  opinions: { version: 2, sources: "de7703c2fd665164" },
} as const satisfies Readonly<Record<string, ResultVersion>>;
