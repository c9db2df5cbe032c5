/** @module The last requests, for the page that shows them. Without texts. */
import type { RequestRecord } from "../gateway/observation.ts";
import type { Recorder } from "./telemetry.ts";

const mostKept = 100;

export interface Recent extends Recorder {
  /** Newest first. */
  readonly requests: readonly RequestRecord[];
}

export function keepRecent(): Recent {
  const requests: RequestRecord[] = [];
  return {
    requests,
    record(record) {
      if (!record.path.startsWith("/v1/") && !record.path.startsWith("/routes/") && record.answer === undefined) return;
      requests.unshift({ ...record, texts: {} });
      requests.length = Math.min(requests.length, mostKept);
    },
  };
}
