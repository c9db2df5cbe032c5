/** @module A run of an evaluation: its folder, what it has computed before, its arms, and how far it is. */
import { setMaxListeners } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { type Arm, changedArm } from "../../../evaluation/arms.ts";
import { type CacheEntry, ResultCache } from "../../../evaluation/cache.ts";
import { buildPolicySet, textFile } from "../../../policy/build.ts";
import type { Policy } from "../../../policy/policy.ts";
import type { Demonstration } from "../../../types/conversation.ts";
import { cancelled, GatewayError } from "../../../types/error.ts";
import { openJournal, writeLines } from "../../demonstration-files.ts";
import type { Report, Runtime } from "../../runtime.ts";
import { type World, withRuntime } from "../world.ts";
import type { RunOptions } from "./options.ts";

const cacheFile = "cache.jsonl";

export interface Run {
  readonly runtime: Runtime;
  readonly cache: ResultCache;
  readonly signal: AbortSignal;
  readonly report: Report;
  /** The folder that results go to. */
  readonly out: string;
}

/** Runs `work` with an engine, policies and a cache that outlives it. */
export function withRun(world: World, name: string, options: RunOptions, work: (run: Run) => Promise<void>): Promise<void> {
  return withRuntime(world, async (runtime, signal) => {
    // Everything under way listens to it, a judge's calls for as long as the run lasts.
    setMaxListeners(0, signal);
    const out = options.out ?? path.join("eval", name);
    const journal = await openJournal<CacheEntry>(path.join(out, cacheFile));
    const cache = new ResultCache({ entries: journal.entries, add: inOrder((entry) => journal.add(entry)) });
    try {
      await work({ runtime, cache, signal, report: world.report, out });
    } finally {
      await journal.close();
    }
  });
}

/** The policies asked for, with other demonstrations where they are given. Throws "invalid_request" where one does not exist. */
export async function openArms(
  { runtime }: Run,
  options: Pick<RunOptions, "policy" | "prompt">,
  defaults: readonly string[],
  demonstrations: readonly Demonstration[] | null,
): Promise<Arm[]> {
  const names = options.policy.length > 0 ? options.policy : defaults;
  const policies = await policiesWith(runtime, names, demonstrations);
  return Promise.all(
    names.map((name) => {
      const policy = policies.get(name);
      if (policy === undefined)
        throw new GatewayError("invalid_request", `There is no policy "${name}". Known: ${[...policies.keys()].join(", ")}.`);
      const arm = { name, policy, engine: runtime.engine };
      return options.prompt === undefined ? arm : changedArm(arm, { prompt: options.prompt });
    }),
  );
}

async function policiesWith(
  runtime: Runtime,
  names: readonly string[],
  demonstrations: readonly Demonstration[] | null,
): Promise<ReadonlyMap<string, Policy>> {
  const { policies: own } = runtime.policies.current;
  if (demonstrations === null || names.some((name) => !own.has(name))) return own;
  const files = await runtime.policyFolder.read();
  const set = textFile(demonstrations.map((demonstration) => JSON.stringify(demonstration)).join("\n"));
  const replaced = {
    policies: new Map(names.map((name) => [name, files.policies.get(name) ?? ""])),
    routes: JSON.stringify({ routes: Object.fromEntries(names.map((name) => [name, { policy: name }])) }),
    demonstrations: new Map([...files.demonstrations.keys()].map((name) => [name, set])),
  };
  return (await buildPolicySet(replaced, runtime)).policies;
}

/** Writes of a file one after another. */
function inOrder<Entry>(add: (entry: Entry) => Promise<void>): (entry: Entry) => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  return (entry) => {
    last = last.then(() => add(entry));
    return last;
  };
}

/** Says how far `total` steps of work are, every ten seconds at most. What was known comes first and fast: the time left is guessed from later steps. */
export function progressOf(what: string, total: number, { report, signal }: Pick<Run, "report" | "signal">): () => void {
  const betweenMs = 10_000;
  let [done, said] = [0, performance.now()];
  let first: { readonly done: number; readonly at: number } | undefined;
  return () => {
    if (signal.aborted) throw cancelled(signal);
    done += 1;
    const now = performance.now();
    if (done < total && now - said < betweenMs) return;
    said = now;
    const left =
      first === undefined ? "" : `, about ${Math.ceil((((now - first.at) / (done - first.done)) * (total - done)) / 60_000)} min left`;
    first ??= { done, at: now };
    report(`${what}: ${done} of ${total}${done < total ? left : ""}`);
  };
}

export interface Results {
  readonly rows: readonly unknown[];
  /** Markdown. */
  readonly report: string;
  /** File name → SVG. */
  readonly figures?: ReadonlyMap<string, string>;
}

/** `<name>.jsonl`, `report.md` and the figures. */
export async function writeResults({ out, report }: Run, name: string, results: Results): Promise<void> {
  await mkdir(out, { recursive: true });
  await writeLines(path.join(out, `${name}.jsonl`), results.rows);
  await writeFile(path.join(out, "report.md"), results.report);
  for (const [file, svg] of results.figures ?? []) await writeFile(path.join(out, file), svg);
  report(`results in ${out}`);
}
