/** @module Makes a record of each generated answer, from what is known of its request when it is over. */
import type { RequestRecord } from "../gateway/observation.ts";
import { computedTokens, noUsage } from "../icdpo/token-usage.ts";
import type { AnswerRow, RecordStore } from "../records/record.ts";
import type { Recorder } from "./telemetry.ts";

export function recordAnswers(store: RecordStore): Recorder {
  return {
    record(record) {
      if (record.answer !== undefined && record.policy !== undefined)
        store.answer(rowOf(record, record.answer, record.policy, store.keepsText));
    },
  };
}

function rowOf(record: RequestRecord, id: string, policy: string, keepsText: boolean): AnswerRow {
  const { work = noUsage(), texts } = record;
  return {
    id,
    at: record.startedAt,
    route: record.route ?? "",
    policy,
    experiment: record.experiment ?? null,
    arm: record.experiment === undefined ? null : (record.arm ?? null),
    unit: record.unit ?? null,
    shares: record.shares ?? null,
    user: record.user ?? null,
    key: record.key ?? null,
    latencyMs: record.ms,
    promptTokens: record.promptTokens ?? 0,
    completionTokens: record.completionTokens ?? 0,
    workTokens: computedTokens(work),
    candidates: record.candidates ?? 0,
    score: record.score ?? null,
    margin: record.margin ?? null,
    finish: record.finish ?? null,
    fallback: record.fallback ?? null,
    error: record.error ?? null,
    texts:
      keepsText && "answers" in texts
        ? {
            request: JSON.stringify(texts["request"]),
            ...("settings" in texts && { settings: JSON.stringify(texts["settings"]) }),
            answers: JSON.stringify(texts["answers"]),
          }
        : null,
  };
}
