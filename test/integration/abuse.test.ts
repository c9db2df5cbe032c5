/**
 * Strangers at two gateways with one cache and one database: whatever they send, and however they read, nobody is
 * answered with a fault, no event loop stands still, memory stays what it is, and every set of books agrees. `npm run
 * check -- abuse` takes an hour (`ICDPO_TEST_ABUSE_MINUTES`); here it is seconds, with the worst that is known first.
 * The seed is printed: `ICDPO_TEST_ABUSE_SEED` draws the same attacks again, `ICDPO_TEST_ABUSE_ONLY` (numbers, commas
 * between) does only some of them.
 */
import { appendFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { complaintAbout, endOfStream } from "../abuse/answers.ts";
import { attack, mostText, type Outcome } from "../abuse/attacker.ts";
import { type Attack, drawAttack, worstAttacks } from "../abuse/attacks.ts";
import { IdleLoop, megabyte, waitedMs } from "../abuse/measures.ts";
import { openTwoGateways, type TwoGateways } from "../abuse/two-gateways.ts";
import {
  contradictedRecords,
  contradictedSightings,
  countBy,
  logBooks,
  metricBooks,
  readLog,
  readWholeLog,
} from "./books.ts";
import { eventually, type Gateway, pause } from "./gateway.ts";

const minutes = Number(process.env["ICDPO_TEST_ABUSE_MINUTES"] ?? 0.5);
const seed = Number(process.env["ICDPO_TEST_ABUSE_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const only = process.env["ICDPO_TEST_ABUSE_ONLY"]?.split(",").map(Number);
/** What a gateway's process may hold at any moment. */
const mostMegabytes = Number(process.env["ICDPO_TEST_ABUSE_MEGABYTES"] ?? 1_000);
/**
 * How long its event loop may stand still, beyond what the machine does to one that is idle: a body of 10 MB is parsed
 * in one go.
 */
const mostBlockMs = Number(process.env["ICDPO_TEST_ABUSE_BLOCK_MS"] ?? 500);
const isLong = minutes >= 10;
const attackers = 10;
const lookMs = 250;
const machineFactor = 5;
/** A gateway that does not answer whoever watches for so long stands still. */
const stuckMs = 60_000;
const mostFindings = 50;
/** Of the attacks that a finding may come from. */
const mostDescribed = 8;

interface Site {
  readonly gateway: Gateway;
  readonly log: string;
  /** By the gateway's names for requests: the status that each ended with, as far as its client saw. */
  readonly seen: Map<string, number | null>;
  unheard: number;
  readonly residentBytes: number[];
  longestBlockMs: number;
}

interface Flight {
  readonly number: number;
  readonly site: Site;
  readonly attack: Attack;
  readonly begun: number;
  ended: number;
}

interface Finding {
  readonly what: string;
  /** Attacks that it may have come from. */
  readonly attacks: readonly number[];
}

let two: TwoGateways;
let sites: readonly Site[];
const findings: Finding[] = [];
const flights: Flight[] = [];
/** Answers that feedback can be about: the latest. */
const answers: string[] = [];

beforeAll(async () => {
  console.log(`ICDPO_TEST_ABUSE_SEED=${seed}`);
  two = await openTwoGateways();
  sites = two.gateways.map((one) => ({ ...one, seen: new Map(), unheard: 0, residentBytes: [], longestBlockMs: 0 }));
});
afterAll(() => two.close());

const draw = (number: number): Attack => drawAttack(seed, number, two.strangers.length, answers);

function find(what: string, attacks: readonly number[]): void {
  const again =
    attacks.length === 0 ? [] : [`again: ICDPO_TEST_ABUSE_SEED=${seed} ICDPO_TEST_ABUSE_ONLY=${attacks.join(",")}`];
  console.error(
    [what, ...again, ...attacks.slice(-mostDescribed).map((number) => describe(draw(number)))].join("\n  "),
  );
  findings.push({ what, attacks });
}

function describe({ kind, method, path: at, headers, sent, reader, times }: Attack): string {
  const bytes =
    "bytes" in sent ? { ...sent, bytes: String(sent.bytes).slice(0, 150), length: sent.bytes.length } : sent;
  return `${kind}: ${times} × ${method} ${at.slice(0, 200)} ${JSON.stringify({ headers, sent: bytes, reader }).slice(0, 400)}`;
}

/** What an outcome of an attack tells of the gateway that it must not be. */
function complaintOf(
  { sent, method, reader, times, isHarmless }: Attack,
  { id, status, type, text, ended }: Outcome,
): string | null {
  // A key may be for other routes.
  if (isHarmless && ended === "whole" && ![200, 404, 429].includes(status ?? 0))
    return `What is harmless was refused: ${status} ${text.slice(0, 500)}`;
  // Who sends more than is read, or takes too long over it, may find the connection closed.
  const isPlain = sent.type === "whole" && sent.bytes.length < megabyte && reader.type === "whole" && times === 1;
  if (ended === "cut" && isPlain) return `Cut off: ${status ?? "no answer"} … ${text.slice(-500)}`;
  if (ended !== "whole" || status === null || id === null || method === "HEAD") return null;
  // Of a longer answer only the end is known, by which a stream can be told, and no JSON.
  if (text.length >= mostText && !type.startsWith("text/event-stream")) return null;
  return complaintAbout({ status, type, text });
}

function note(site: Site, { id, status, type, text, ended }: Outcome): void {
  if (id === null) site.unheard += 1;
  else site.seen.set(id, ended !== "whole" ? null : type.startsWith("text/event-stream") ? endOfStream(text) : status);
  const [, answer] = /"id":"(chatcmpl-\w+)"/u.exec(text) ?? [];
  if (answer !== undefined) answers.splice(0, Math.max(0, answers.length - 50), answer);
}

/** The same number, the same attack, at the same gateway. */
async function perform(number: number): Promise<string> {
  const drawn = draw(number);
  const site = sites[number % sites.length] as Site;
  const flight: Flight = { number, site, attack: drawn, begun: performance.now(), ended: Number.POSITIVE_INFINITY };
  flights.push(flight);
  const key =
    drawn.key === null ? (number % 2 === 0 ? null : "nobody-has-this-key") : (two.strangers[drawn.key] as string);
  const outcomes = await Promise.all(Array.from({ length: drawn.times }, () => attack(site.gateway.url, drawn, key)));
  flight.ended = performance.now();
  for (const outcome of outcomes) note(site, outcome);
  const complaints = outcomes.map((outcome) => complaintOf(drawn, outcome)).filter((complaint) => complaint !== null);
  if (complaints[0] !== undefined) find(complaints[0], [number]);
  const [first] = outcomes;
  return first?.ended === "whole" ? String(first.status) : (first?.ended ?? "");
}

const isUp = ({ gateway: { process } }: Site): boolean => process.exitCode === null && process.signalCode === null;

async function metricsOf({ gateway }: Site) {
  const response = await fetch(`${gateway.url}/metrics`, {
    headers: { authorization: `Bearer ${two.operator}` },
    signal: AbortSignal.timeout(stuckMs),
  });
  return metricBooks(await response.text());
}

/** Looks at a gateway again and again: has its loop stood still, does it hold too much, has its engine ended? */
async function watch(site: Site, isOver: () => boolean): Promise<void> {
  const idle = new IdleLoop();
  const { pid } = site.gateway.process;
  let last = await metricsOf(site);
  let lastWaitedMs = waitedMs(pid);
  let lastAt = performance.now();
  while (!isOver()) {
    await idle.longestDelayMs();
    await pause(lookMs);
    const told = await metricsOf(site).catch((error: unknown) => error as Error);
    const now = performance.now();
    // Whatever was under way since the last look.
    const suspects = flights
      .filter((flight) => flight.site === site && flight.ended >= lastAt - lookMs)
      .map(({ number }) => number);
    if (told instanceof Error) {
      find(
        `Does not answer (${told}); ${isUp(site) ? "runs" : "has ended"}: ${site.gateway.log().slice(-1_000)}`,
        suspects,
      );
      // Whoever waits for it waits no longer.
      site.gateway.process.kill("SIGKILL");
      return;
    }
    // What it did not work for, or waited for a core in, was no block of its own.
    const waited = waitedMs(pid);
    const blockMs = Math.max(0, Math.min(told.delayMs - (waited - lastWaitedMs), told.cpuMs - last.cpuMs));
    lastWaitedMs = waited;
    site.longestBlockMs = Math.max(site.longestBlockMs, blockMs);
    if (blockMs > mostBlockMs + machineFactor * (await idle.longestDelayMs()))
      find(`The event loop stood still for ${blockMs.toFixed(0)} ms`, suspects);
    if (told.residentBytes > mostMegabytes * megabyte && !(last.residentBytes > mostMegabytes * megabyte))
      find(`Holds ${(told.residentBytes / megabyte).toFixed(0)} MB`, suspects);
    if (told.restarts > last.restarts) find(`The engine ended: ${site.gateway.log().slice(-1_000)}`, suspects);
    site.residentBytes.push(told.residentBytes);
    last = told;
    lastAt = now;
  }
  await idle.close();
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** Megabytes after the first tenth of the run, and at its end. */
function memoryOf({ residentBytes }: Site): readonly [number, number] {
  const tenth = Math.ceil(residentBytes.length / 10);
  const of = (samples: readonly number[]): number => Math.round(median(samples) / megabyte);
  return [of(residentBytes.slice(tenth, 2 * tenth)), of(residentBytes.slice(-tenth))];
}

/** What a gateway's own books say against each other and against what its clients saw, and what it calls an error. */
async function contradictions(site: Site): Promise<string[]> {
  const isTold = async (): Promise<boolean> => {
    const { waiting, requests } = await metricsOf(site);
    return waiting === 0 && readLog(site.log).length === Object.values(requests).reduce((a, b) => a + b, 0);
  };
  const isAllTold = await eventually(isTold, 60_000).then(
    () => true,
    () => false,
  );
  const told = await metricsOf(site);
  const logged = logBooks(readLog(site.log));
  const lines = readWholeLog(site.log);
  const asked = lines.filter(
    ({ msg, path, key }) => msg === "request" && path !== "counterfactual" && key !== "operator",
  );
  const errors = lines.filter(({ level }) => level === "error");
  return [
    ...(isAllTold ? [] : ["The metrics and the log do not come to the same number of requests"]),
    ...(told.lost === 0 ? [] : [`${told.lost} records or lines were lost`]),
    ...(["requests", "tokens", "charged"] as const)
      .filter(
        (book) =>
          JSON.stringify(Object.entries(told[book]).sort()) !== JSON.stringify(Object.entries(logged[book]).sort()),
      )
      .map((book) => `${book}: the metrics say ${JSON.stringify(told[book])}, the log ${JSON.stringify(logged[book])}`),
    ...contradictedSightings(site, asked),
    ...Object.entries(
      countBy(errors, ({ msg, path, status, error, err }) => `${msg}: ${err?.message ?? `${path} ${status} ${error}`}`),
    ).map(([what, count]) => `An error in the log, ${count} times: ${what}`),
  ];
}

it(`${only === undefined ? `${minutes} minutes` : `attacks ${only}`} of abuse: no fault, no block, no memory kept, no books that disagree`, {
  timeout: minutes * 60_000 + 15 * 60_000,
}, async () => {
  const ended: string[] = [];
  const kinds: string[] = [];
  const end = performance.now() + minutes * 60_000;
  let next = 0;
  let isOver = false;
  const isEnough = (): boolean => findings.length >= mostFindings || !sites.every(isUp);
  const attacker = async (): Promise<void> => {
    while (!isEnough()) {
      const number = only === undefined ? next++ : only[next++];
      // All of the worst come in any case.
      if (number === undefined || (only === undefined && number >= worstAttacks.length && performance.now() > end))
        return;
      const came = await perform(number);
      ended.push(came);
      kinds.push(`${flights.find((flight) => flight.number === number)?.attack.kind} ${came}`);
      // Long ended, suspected of nothing.
      if (flights.length > 1_000)
        flights.splice(0, 500, ...flights.slice(0, 500).filter((flight) => flight.ended > performance.now() - stuckMs));
    }
  };
  const watching = Promise.all(sites.map((site) => watch(site, () => isOver)));
  await Promise.all(Array.from({ length: attackers }, attacker));
  isOver = true;
  await watching;

  for (const site of sites.filter(isUp))
    for (const contradiction of await contradictions(site)) find(contradiction, []);
  const summary = {
    seed,
    minutes,
    attacks: ended.length,
    ended: countBy(ended, (how) => how),
    longestBlockMs: sites.map(({ longestBlockMs }) => Math.round(longestBlockMs)),
    memory: sites.map(memoryOf),
    mostMegabytes: sites.map(({ residentBytes }) => Math.round(Math.max(...residentBytes) / megabyte)),
    findings: findings.length,
  };
  console.log(JSON.stringify(summary));
  const report = process.env["ICDPO_TEST_ABUSE_REPORT"];
  if (report !== undefined)
    appendFileSync(report, `${JSON.stringify({ ...summary, kinds: countBy(kinds, (kind) => kind) })}\n`);
  expect(findings.map(({ what }) => what)).toEqual([]);
  expect(await Promise.all(sites.map(({ gateway }) => gateway.stop()))).toEqual([0, 0]);
  expect(
    await contradictedRecords(
      two.database,
      sites.flatMap(({ log }) => readLog(log)),
    ),
  ).toEqual([]);
  if (!isLong) return;
  for (const [early, late] of sites.map(memoryOf)) expect(late).toBeLessThan(early * 1.15 + 32);
});
