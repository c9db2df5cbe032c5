/**
 * @module Versions of what evaluations keep. Keys cover what a result was computed from, not the code that computed it:
 * where that code makes other results of the same, a new version makes the older ones count no more. `sources` is a
 * hash over that code; `test/unit/lab/versions.test.ts` says which files it is, and fails when they change, so that
 * somebody decides.
 */

export interface ResultVersion {
  readonly version: number;
  /** 16 hex digits of SHA-256. */
  readonly sources: string;
}

export const versions = {
  /** What a policy answers, and its candidates. */
  answers: { version: 2, sources: "f682369b544291f0" },
  /** Log-probabilities of given tokens after given tokens. */
  scores: { version: 1, sources: "b4826680549f69cf" },
  rewards: { version: 1, sources: "ef1f2312b212e7d6" },
  /** What a judge or teacher replied, word for word. */
  opinions: { version: 2, sources: "02d619516ec0c4fa" },
} as const satisfies Readonly<Record<string, ResultVersion>>;
