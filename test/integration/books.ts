/**
 * @module Four sets of books about the same requests: the client's own, the gateway's metrics, its log, and the records
 * it keeps.
 */
import { readFileSync } from "node:fs";
import { createClient } from "@libsql/client";
import { computedTokens, type TokenUsage } from "../../src/icdpo/token-usage.ts";

/**
 * A request as its client saw it end: a status, that of a stream's error event included; null: it left, and does not
 * know.
 */
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
  readonly work?: TokenUsage;
}

export type Counts = Readonly<Record<string, number>>;

/** Requests for work; not the probes of who watches. */
const isWork = (path: string): boolean => path.startsWith("/v1/") || path === "counterfactual";

/** The log's lines about requests for work. */
export function readLog(file: string): LogLine[] {
  return readWholeLog(file).filter(({ msg, path }) => msg === "request" && isWork(path));
}

/** Every line of the log, those about other things included. */
export function readWholeLog(
  file: string,
): (LogLine & { readonly msg: string; readonly level: string; readonly err?: { readonly message: string } })[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
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
      labels: Object.fromEntries(
        [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/gu)].map(([, label = "", of = ""]) => [label, of]),
      ),
      value: Number(value),
    }));
}

export function countBy<Item>(
  items: Iterable<Item>,
  keyOf: (item: Item) => string,
  weigh: (item: Item) => number = () => 1,
): Counts {
  const counts: Record<string, number> = {};
  for (const item of items) counts[keyOf(item)] = (counts[keyOf(item)] ?? 0) + weigh(item);
  return counts;
}

/** What the log says was worked through for a request. */
export function workOf({ work }: LogLine): number {
  return work === undefined ? 0 : computedTokens(work);
}

/** The same counts as the log would have them, read off the metrics. */
export function metricBooks(text: string) {
  const samples = parseMetrics(text);
  const of = (name: string) => samples.filter((sample) => sample.name === `icdpo_${name}`);
  const [requests, tokens, charged] = [of("requests_total"), of("tokens_total"), of("charged_tokens_total")];
  const value = (name: string): number => of(name)[0]?.value ?? 0;
  const plain = (of: string): number => samples.find(({ name }) => name === of)?.value ?? 0;
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
      charged.filter(({ value }) => value !== 0),
      ({ labels }) => labels["key"] ?? "",
      ({ value }) => value,
    ),
    /** Records that are not on the disk yet. */
    waiting: value("records_waiting"),
    lost: value("records_lost_total") + value("log_lines_dropped_total") + value("telemetry_errors_total"),
    residentBytes: plain("process_resident_memory_bytes"),
    cpuMs: plain("process_cpu_seconds_total") * 1_000,
    /** The event loop's longest delay since the metrics were asked for last. */
    delayMs: plain("nodejs_eventloop_lag_max_seconds") * 1_000,
    restarts: value("engine_restarts_total"),
  };
}

export function logBooks(
  lines: readonly LogLine[],
): Pick<ReturnType<typeof metricBooks>, "requests" | "tokens" | "charged"> {
  const tokens: Record<string, number> = {};
  for (const { work } of lines)
    for (const [kind, count] of Object.entries(work ?? {})) tokens[kind] = (tokens[kind] ?? 0) + count;
  return {
    requests: countBy(lines, ({ path, status }) => `${path} ${status}`),
    tokens,
    charged: countBy(
      lines.filter((line) => line.key !== undefined && workOf(line) !== 0),
      ({ key }) => key as string,
      workOf,
    ),
  };
}

/**
 * What of a client's book the gateway's contradicts: each path was asked for as often as the gateway says, and ended as
 * the client saw it. Who left may have been answered, or have failed, before that was noticed.
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

/** What a client knows of its requests by the names that the gateway gave them. */
export interface Sightings {
  /** The status that each ended with; null where the client did not wait for its end. */
  readonly seen: ReadonlyMap<string, number | null>;
  /** Requests that were told no name: the gateway may know of them, or not. */
  readonly unheard: number;
}

/** What of a client's sightings the gateway's log contradicts. */
export function contradictedSightings({ seen, unheard }: Sightings, lines: readonly LogLine[]): string[] {
  const logged = new Map(lines.map((line) => [line.id, line]));
  const strangers = lines.filter(({ id }) => !seen.has(id)).length;
  return [
    ...(logged.size === lines.length ? [] : [`${lines.length - logged.size} requests are in the log twice`]),
    ...(strangers <= unheard
      ? []
      : [`the log knows ${strangers} requests that nobody was told of, where there can be ${unheard}`]),
    ...[...seen].flatMap(([id, status]) => {
      const line = logged.get(id);
      if (line === undefined) return [`${id} is not in the log`];
      return status === null || status === line.status
        ? []
        : [`${id} (${line.path}) ended with ${status}; the log says ${line.status}`];
    }),
  ];
}

/**
 * What of the log's answers the records in a database file contradict: which there are, what work they took, which of
 * them failed.
 */
export async function contradictedRecords(file: string, lines: readonly LogLine[]): Promise<string[]> {
  const client = createClient({ url: `file:${file}` });
  const { rows } = await client.execute("SELECT id, work_tokens, error FROM answers");
  client.close();
  const told = new Map(
    lines
      .filter(({ answer, policy }) => answer !== undefined && policy !== undefined)
      .map((line) => [line.answer, line]),
  );
  const kept = new Map(rows.map((row) => [String(row["id"]), row]));
  return [
    ...[...told.keys()].filter((id) => !kept.has(String(id))).map((id) => `the answer ${id} was not recorded`),
    ...[...kept].flatMap(([id, row]) => {
      const line = told.get(id);
      if (line === undefined) return [`the record of ${id} is of no answer that the log knows`];
      const [work, failed] = [Number(row["work_tokens"]), row["error"] !== null];
      return work === workOf(line) && failed === (line.error !== undefined)
        ? []
        : [
            `the record of ${id} has ${work} tokens and ${failed ? "an" : "no"} error; the log says ${workOf(line)}, ${line.error ?? "none"}`,
          ];
    }),
  ];
}
