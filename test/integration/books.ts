/** @module Three sets of books about the same requests: the client's own, the gateway's metrics, and its log; and the records it keeps. */
import { readFileSync } from "node:fs";
import { type TokenWork, workedThrough } from "../../src/icdpo/work.ts";

/** A request as its client saw it end: a status, that of a stream's error event included; null: it left, and does not know. */
export interface Entry {
  readonly path: string;
  readonly status: number | null;
}

/** A line of the gateway's log. */
export interface LogLine {
  readonly id: string;
  readonly path: string;
  readonly status: number;
  readonly route?: string;
  readonly key?: string;
  readonly answer?: string;
  readonly policy?: string;
  readonly error?: string;
  readonly work?: TokenWork;
}

export type Counts = Readonly<Record<string, number>>;

/** Requests for work; not the probes of who watches. */
const isWork = (path: string): boolean => path.startsWith("/v1/") || path === "counterfactual";

export function readLog(file: string): LogLine[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as LogLine & { readonly msg: string })
    .filter(({ msg, path }) => msg === "request" && isWork(path));
}

/** `name{label="value"} 3` → its samples. */
export function parseMetrics(
  text: string,
): { readonly name: string; readonly labels: Readonly<Record<string, string>>; readonly value: number }[] {
  return text
    .split("\n")
    .map((line) => /^(\w+)(?:\{(.*)\})? (\S+)$/u.exec(line))
    .filter((match) => match !== null)
    .map(([, name = "", labels = "", value = ""]) => ({
      name,
      labels: Object.fromEntries([...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/gu)].map(([, label = "", of = ""]) => [label, of])),
      value: Number(value),
    }));
}

export function countBy<Item>(items: Iterable<Item>, keyOf: (item: Item) => string, weigh: (item: Item) => number = () => 1): Counts {
  const counts: Record<string, number> = {};
  for (const item of items) counts[keyOf(item)] = (counts[keyOf(item)] ?? 0) + weigh(item);
  return counts;
}

/** What the log says was worked through for a request. */
export function workOf({ work }: LogLine): number {
  return work === undefined ? 0 : workedThrough(work);
}

/** The same counts as the log would have them, read off the metrics. */
export function metricBooks(text: string) {
  const samples = parseMetrics(text);
  const of = (name: string) => samples.filter((sample) => sample.name === `icdpo_${name}`);
  const [requests, tokens, charged] = [of("requests_total"), of("tokens_total"), of("charged_tokens_total")];
  const value = (name: string): number => of(name)[0]?.value ?? 0;
  return {
    requests: countBy(
      requests.filter(({ labels }) => isWork(labels["path"] ?? "")),
      ({ labels }) => `${labels["path"]} ${labels["status"]}`,
      ({ value }) => value,
    ),
    tokens: countBy(
      tokens.filter(({ labels }) => !labels["kind"]?.startsWith("usage")),
      ({ labels }) => labels["kind"] ?? "",
      ({ value }) => value,
    ),
    charged: countBy(
      charged,
      ({ labels }) => labels["key"] ?? "",
      ({ value }) => value,
    ),
    /** Records that are not on the disk yet. */
    waiting: value("records_waiting"),
    lost: value("records_lost_total") + value("log_lines_dropped_total") + value("telemetry_errors_total"),
    residentBytes: samples.find(({ name }) => name === "process_resident_memory_bytes")?.value ?? 0,
  };
}

export function logBooks(lines: readonly LogLine[]): Omit<ReturnType<typeof metricBooks>, "waiting" | "lost" | "residentBytes"> {
  const tokens: Record<string, number> = {};
  for (const { work } of lines) for (const [kind, count] of Object.entries(work ?? {})) tokens[kind] = (tokens[kind] ?? 0) + count;
  return {
    requests: countBy(lines, ({ path, status }) => `${path} ${status}`),
    tokens,
    charged: countBy(
      lines.filter(({ key, work }) => key !== undefined && work !== undefined),
      ({ key }) => key as string,
      workOf,
    ),
  };
}

/**
 * What of a client's book the gateway's contradicts: each path was asked for as often as the gateway says, and ended as the client saw it. Who left
 * may have been answered, or have failed, before that was noticed.
 */
export function contradictions(entries: readonly Entry[], lines: readonly LogLine[]): string[] {
  const asked = entries.filter(({ path }) => path !== "counterfactual");
  const told = lines.filter(({ path }) => path !== "counterfactual");
  const total = { asked: countBy(asked, ({ path }) => path), told: countBy(told, ({ path }) => path) };
  const left = countBy(
    asked.filter(({ status }) => status === null),
    ({ path }) => path,
  );
  const seen = countBy(
    asked.filter(({ status }) => status !== null),
    ({ path, status }) => `${path} ${status}`,
  );
  const known = countBy(told, ({ path, status }) => `${path} ${status}`);
  return [
    ...Object.keys({ ...total.asked, ...total.told })
      .filter((path) => total.asked[path] !== total.told[path])
      .map((path) => `${path}: asked ${total.asked[path] ?? 0} times, told of ${total.told[path] ?? 0}`),
    ...Object.keys({ ...seen, ...known })
      .filter((key) => {
        const extra = (known[key] ?? 0) - (seen[key] ?? 0);
        return extra < 0 || extra > (left[key.split(" ")[0] as string] ?? 0);
      })
      .map((key) => `${key}: seen ${seen[key] ?? 0} times, told of ${known[key] ?? 0}`),
  ];
}
