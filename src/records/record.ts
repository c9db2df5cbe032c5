/**
 * @module What is kept of answers, and of what became of them. Ids and times are made by the caller; rows are written
 * as given.
 */
import type { ExperimentDescription, ExperimentReport } from "../experiment/report.ts";
import type { DeclaredMetrics, Refusal } from "../policy/feedback-metrics.ts";

/** An answer that was given, or failed. Times in milliseconds since 1970. */
export interface AnswerRow {
  /** As the client knows it. */
  readonly id: string;
  readonly at: number;
  readonly route: string;
  /** `everyday@1a2b…` */
  readonly policy: string;
  readonly experiment: string | null;
  readonly arm: string | null;
  /** Pseudonym of what was assigned. */
  readonly unit: string | null;
  /** Arm → what the unit's chance was. */
  readonly shares: Readonly<Record<string, number>> | null;
  /** Pseudonym of the request's `user`. */
  readonly user: string | null;
  /** The name of the API key. */
  readonly key: string | null;
  readonly latencyMs: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Fed, sampled and scored, the hidden work included. */
  readonly workTokens: number;
  readonly candidates: number;
  readonly score: number | null;
  readonly margin: number | null;
  readonly finish: string | null;
  readonly fallback: string | null;
  /** OpenAI's error code. */
  readonly error: string | null;
  /**
   * JSON of the conversation, of what the request says beside it, where that is known, and of the answers; null unless
   * texts are kept.
   */
  readonly texts: { readonly request: string; readonly settings?: string; readonly answers: string } | null;
}

/** What somebody thinks of an answer. The same answer and metric again: the new value counts. */
export interface FeedbackRow {
  readonly answer: string;
  readonly metric: string;
  readonly value: number;
  readonly comment: string | null;
  readonly at: number;
}

/** What plain sampling would have answered, beside what the policy chose. Scores in nats, by the same contexts. */
export interface CounterfactualRow {
  readonly answer: string;
  readonly at: number;
  readonly score: number;
  readonly chosenScore: number;
  /** Null unless texts are kept. */
  readonly text: string | null;
}

/** A refusal: the answer's experiment has not declared what is said. */
export type FeedbackOutcome = "kept" | "unknown" | "expired" | Refusal;

export interface StoreState {
  readonly status: "ok" | "failing" | "off";
  /** Why rows cannot be written now. */
  readonly error: string | null;
  readonly written: number;
  /** Rows that wait to be written. */
  readonly waiting: number;
  /** Rows that were given up. */
  readonly lost: number;
}

/** Where records are kept. Recording never fails and never waits. */
export interface RecordStore {
  /** Whether texts are wanted. */
  readonly keepsText: boolean;
  answer(row: AnswerRow): void;
  counterfactual(row: CounterfactualRow): void;
  /**
   * `key` is the caller's: each sees their own answers only. Throws "records_unavailable", and "answer_not_found" where
   * nothing is kept.
   */
  feedback(row: FeedbackRow, key: string | null, declared: DeclaredMetrics): Promise<FeedbackOutcome>;
  /**
   * Whoever leaves (`signal`) is waited for no more. Throws "records_unavailable", and "experiment_not_found" where
   * nothing is kept.
   */
  report(experiment: ExperimentDescription, signal?: AbortSignal): Promise<ExperimentReport>;
  state(): StoreState;
}
