/** @module What the gateway is doing: queue, engine, cache, records, and the last requests. */
import type { RequestRecord } from "../gateway/observation.ts";
import type { StoreState } from "../records/record.ts";
import { numbers, Table, texts } from "./data-table.tsx";
import { Alert, Facts } from "./layout.tsx";

export interface StatusProps {
  readonly version: string;
  readonly engine: Readonly<Record<string, unknown>> & { readonly status: string };
  readonly underWay: number;
  readonly records: StoreState;
  readonly requests: readonly RequestRecord[];
}

export function Status({ version, engine, underWay, records, requests }: StatusProps) {
  const answered = requests.filter(({ work, error }) => work !== undefined && error === undefined);
  const total = (of: (request: RequestRecord) => number): number =>
    answered.reduce((sum, request) => sum + of(request), 0);
  const fed = total(({ work }) => work?.prompt ?? 0);
  const cached = total(({ work }) => work?.cached ?? 0);
  const sampleMs = total(({ stages }) =>
    stages.filter(({ stage }) => stage === "sample").reduce((sum, { ms }) => sum + ms, 0),
  );
  return (
    <>
      {engine.status !== "ready" && <Alert>{`The engine is ${engine.status}.`}</Alert>}
      {records.lost > 0 && <Alert>{`${records.lost} records were lost.`}</Alert>}
      <Facts
        facts={{
          Version: version,
          Engine: engine.status,
          ...eachEngine(engine["engines"]),
          "Engine restarts": String(engine["restarts"] ?? 0),
          "Requests under way": underWay,
          "Tasks at work": String(engine["active"] ?? "–"),
          "Tasks waiting": String(engine["waiting"] ?? "–"),
          "Sequences free": String(engine["freeSequences"] ?? "–"),
          Threads: String(engine["threads"] ?? "–"),
          "Sampled tokens a second":
            sampleMs === 0 ? "–" : ((total(({ work }) => work?.sampled ?? 0) / sampleMs) * 1000).toFixed(0),
          "Prompt tokens from the cache": fed === 0 ? "–" : `${Math.round((100 * cached) / fed)} %`,
          Records:
            records.status === "off"
              ? "off"
              : `${records.written} written, ${records.waiting} waiting, ${records.lost} lost`,
        }}
      />
      {records.error !== null && <Alert>{`Records cannot be written, and wait: ${records.error}`}</Alert>}
      <h2>Last requests</h2>
      <p class="quiet">
        Speed and cache are of these. <a href="/status">Look again</a>
      </p>
      <Table
        columns={[
          ...texts("Time (UTC)", "Route", "Policy", "Arm"),
          ...numbers("Status", "Seconds", "Tokens", "Score"),
          ...texts("Finish"),
        ]}
        rows={requests.map((request) => [
          new Date(request.startedAt).toISOString().slice(11, 19),
          request.route ?? request.path,
          <code>{request.policy ?? ""}</code>,
          request.arm ?? "",
          request.status,
          (request.ms / 1000).toFixed(2),
          request.completionTokens ?? "",
          request.score?.toFixed(2) ?? "",
          request.error ?? request.finish ?? "",
        ])}
      />
    </>
  );
}

/** Where there are several. */
function eachEngine(engines: unknown): Record<string, string> {
  const states = Object.entries((engines ?? {}) as Readonly<Record<string, { readonly status: string }>>);
  return states.length < 2 ? {} : Object.fromEntries(states.map(([name, { status }]) => [`Engine ${name}`, status]));
}
