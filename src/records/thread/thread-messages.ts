/** @module Messages between the gateway and the threads that write its records and make reports of them. */
import type { ExperimentDescription, ExperimentReport } from "../../experiment/report.ts";
import type { DeclaredMetrics } from "../../policy/feedback-metrics.ts";
import type { DatabaseOptions } from "../libsql-records.ts";
import type { AnswerRow, CounterfactualRow, FeedbackOutcome, FeedbackRow } from "../record.ts";

export interface WorkerOptions extends DatabaseOptions {
  readonly textDays: number;
  readonly recordDays: number;
  readonly feedbackDays: number;
}

export type RecordedRow = { readonly answer: AnswerRow } | { readonly counterfactual: CounterfactualRow };

/** What is asked, and what the answer is. */
export interface Calls {
  feedback: { arguments: [row: FeedbackRow, key: string | null, declared: DeclaredMetrics]; result: FeedbackOutcome };
  /** What was recorded before is on the disk. */
  flush: { arguments: []; result: null };
}

export type Call = {
  [Name in keyof Calls]: { readonly name: Name; readonly arguments: Calls[Name]["arguments"] };
}[keyof Calls];

export type ToWorker =
  | { readonly type: "rows"; readonly rows: readonly RecordedRow[] }
  | { readonly type: "call"; readonly id: number; readonly call: Call }
  | { readonly type: "close" };

export type FromWorker =
  /** So many rows are on the disk, in the order in which they came. */
  | { readonly type: "written"; readonly count: number }
  | { readonly type: "failing"; readonly error: string }
  /** For the log: work that can wait has not been done, and is tried again. */
  | { readonly type: "notice"; readonly line: string }
  | { readonly type: "result"; readonly id: number; readonly result: unknown }
  | { readonly type: "error"; readonly id: number; readonly error: string };

export type ToReader =
  | { readonly type: "report"; readonly id: number; readonly experiment: ExperimentDescription }
  /** Nobody waits for it any more. */
  | { readonly type: "cancel"; readonly id: number };

export type FromReader =
  | { readonly type: "result"; readonly id: number; readonly result: ExperimentReport }
  | { readonly type: "error"; readonly id: number; readonly error: string };
