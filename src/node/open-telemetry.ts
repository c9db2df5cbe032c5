/** @module The log, the metrics, the traces and the records of requests, by the settings. */
import { isFault } from "../gateway/errors.ts";
import type { RecordStore } from "../records/record.ts";
import { recordAnswers } from "../telemetry/answer-records.ts";
import { openLog } from "../telemetry/log.ts";
import { createMetrics, type MetricsSources } from "../telemetry/prometheus.ts";
import { keepRecent } from "../telemetry/recent.ts";
import { createTelemetry } from "../telemetry/telemetry.ts";
import { openTraces } from "../telemetry/traces.ts";
import type { Report } from "../types/operator.ts";
import type { Settings } from "./settings.ts";

export async function openTelemetry(
  settings: Settings,
  version: string,
  sources: MetricsSources,
  records: RecordStore,
  report: Report,
) {
  const metrics = createMetrics(sources);
  let isReported = false;
  const onDropped = (): void => {
    metrics.logLinesDropped();
    if (!isReported)
      report("The log cannot be written; its lines are lost (icdpo_log_lines_dropped_total counts them).");
    isReported = true;
  };
  const log = openLog({
    level: settings.ICDPO_LOG_LEVEL,
    file: settings.ICDPO_LOG_FILE,
    text: settings.ICDPO_LOG_TEXT,
    onDropped,
  });
  const traces = await openTraces(process.env, version);
  if (settings.ICDPO_LOG_FILE !== undefined) process.on("SIGHUP", log.reopen);
  const recent = keepRecent();
  const recorders = [log, recent, metrics, recordAnswers(records), ...(traces === null ? [] : [traces])];
  const onFailure = (error: unknown): void => {
    metrics.telemetryFailed();
    report(`telemetry: ${error}`);
  };
  return {
    telemetry: createTelemetry({ recorders, metrics: () => metrics.render(), now: Date.now, onFailure }),
    recent: () => recent.requests,
    charged: metrics.charged,
    // Only faults of the gateway's own need a stack; a client's leave-taking is no error.
    reportError: (error: unknown) => isFault(error) && log.logger.error({ err: error }, "fault"),
    async close() {
      process.off("SIGHUP", log.reopen);
      await traces?.close();
      await log.close();
    },
  };
}
