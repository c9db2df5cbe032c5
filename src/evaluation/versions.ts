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
  answers: { version: 2, sources: "4a4f864614da483f" },
  /** Log-probabilities of given tokens after given tokens. */
  scores: { version: 1, sources: "c597619c9c60a57a" },
  rewards: { version: 1, sources: "9c3d1ca43f976e6c" },
  /** What a judge or teacher replied, word for word. */
  opinions: { version: 2, sources: "143bd4325f776eb5" },
} as const satisfies Readonly<Record<string, ResultVersion>>;
