/**
 * @module What the gateway itself costs: a plain route to a model server that answers at once, beside that server and
 * another gateway.
 */
import type { BenchCase, Measurement } from "./figures.ts";
import { quantile } from "./figures.ts";
import { type Loaded, load, type Target } from "./load.ts";

export interface OverheadTargets {
  readonly upstream: Target;
  readonly gateway: Target;
  /** Absent: none is at hand. */
  readonly other?: Target | undefined;
}

const single = { count: 500, concurrency: 1 };
const many = { count: 3_000, concurrency: 64 };
/** Each is measured in so many turns, so that all meet the same moods of the machine. */
const turns = 5;
const warmUp = { count: 1_500, concurrency: 16 };

/** One at a time and 64 at once, whole answers or streamed ones. Throws where an answer is not 200. */
export function overheadCase(targets: OverheadTargets, stream: boolean, signal: AbortSignal): BenchCase {
  const kind = stream ? "streamed" : "whole";
  let isWarm = false;
  return {
    name: `overhead, ${kind} answers`,
    async run() {
      const { upstream, gateway, other } = targets;
      const all = [upstream, gateway, ...(other === undefined ? [] : [other])];
      if (!isWarm) for (const target of all) await load(target, { ...warmUp, stream }, signal);
      isWarm = true;
      const one = await inTurns(all, { ...single, stream }, signal);
      const at64 = await inTurns(all, { ...many, stream }, signal);
      return [...latencies(one, targets, kind), ...throughputs(at64, targets, kind)];
    },
  };
}

type Results = ReadonlyMap<Target, Loaded>;

function latencies(results: Results, { upstream, gateway, other }: OverheadTargets, kind: string): Measurement[] {
  const median = (target: Target): number => quantile(results.get(target)?.latencies ?? [], 0.5);
  const added = (target: Target): number => median(target) - median(upstream);
  const unit = "ms";
  return [
    {
      name: `${kind}, one at a time`,
      unit,
      value: median(gateway),
      against: { name: upstream.name, value: median(upstream) },
    },
    {
      name: `${kind}, one at a time: added`,
      unit,
      value: added(gateway),
      ...(other !== undefined && { against: { name: `${other.name}: added`, value: added(other) } }),
    },
  ];
}

function throughputs(results: Results, { upstream, gateway, other }: OverheadTargets, kind: string): Measurement[] {
  const perSecond = (target: Target): number => results.get(target)?.requestsPerSecond ?? Number.NaN;
  return [upstream, ...(other === undefined ? [] : [other])].map((beside) => ({
    name: `${kind}, ${many.concurrency} at once`,
    unit: "requests/s",
    value: perSecond(gateway),
    against: { name: beside.name, value: perSecond(beside) },
  }));
}

async function inTurns(
  targets: readonly Target[],
  work: Parameters<typeof load>[1],
  signal: AbortSignal,
): Promise<Results> {
  const measured = new Map<Target, Loaded[]>(targets.map((target) => [target, []]));
  const count = Math.ceil(work.count / turns);
  for (let turn = 0; turn < turns; turn++)
    for (const [target, loaded] of measured) loaded.push(await load(target, { ...work, count }, signal));
  return new Map([...measured].map(([target, loaded]) => [target, together(loaded, count)]));
}

function together(loaded: readonly Loaded[], count: number): Loaded {
  const seconds = loaded.reduce((sum, { requestsPerSecond }) => sum + count / requestsPerSecond, 0);
  return {
    latencies: loaded.flatMap(({ latencies }) => latencies).sort((a, b) => a - b),
    requestsPerSecond: (loaded.length * count) / seconds,
  };
}
