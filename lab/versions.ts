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
  answers: { version: 4, sources: "0a28be95d99a1ebe" },
  /** Log-probabilities of given tokens after given tokens. */
  scores: { version: 1, sources: "13e6cbd6658485f8" },
  rewards: { version: 1, sources: "78ad58ed8064843c" },
  /** What a judge or teacher replied, without its thought. */
  opinions: { version: 3, sources: "245639a264d18fb0" },
} as const satisfies Readonly<Record<string, ResultVersion>>;
