/** @module A run of an evaluation: its folder, what it has computed before, its arms, and how far it is. */
import { setMaxListeners } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import {
  buildPolicySet,
  cancelled,
  type Demonstration,
  defaultEngine,
  demonstrationSet,
  type Engine,
  GatewayError,
  inOrder,
  type ModelRuntime,
  openJournal,
  type Policy,
  type PolicyFiles,
  type Report,
  type World,
  withModels,
  writeLines,
  writeWhole,
} from "icdpo-gateway/laboratory";
import { type Arm, changedArm } from "../arms.ts";
import { type CacheEntry, ResultCache } from "../cache.ts";
import type { RunOptions } from "./options.ts";

const cacheFile = "cache.jsonl";

export interface Run {
  readonly models: ModelRuntime;
  readonly cache: ResultCache;
  readonly signal: AbortSignal;
  readonly report: Report;
  /** The folder that results go to. */
  readonly out: string;
}

/** Runs `work` with models and a cache that outlives it. */
export function withRun(
  world: World,
  name: string,
  options: RunOptions,
  work: (run: Run) => Promise<void>,
): Promise<void> {
  return withModels(world, async (models, signal) => {
    // Everything under way listens to it, a judge's calls for as long as the run lasts.
    setMaxListeners(0, signal);
    const out = options.out ?? path.join("eval", name);
    const journal = await openJournal<CacheEntry>(path.join(out, cacheFile));
    if (journal.damaged > 0)
      world.report(
        `${journal.damaged} lines of ${path.join(out, cacheFile)} are cut short or damaged: their results are computed anew`,
      );
    const inTurn = inOrder();
    const add = (entry: CacheEntry): Promise<void> => inTurn(() => journal.add(entry));
    const cache = new ResultCache({ entries: journal.entries, add });
    try {
      await work({ models, cache, signal, report: world.report, out });
    } finally {
      await journal.close();
    }
  });
}

/** The engine called default, which tokenises data. */
export function ownEngine({ models }: Run): Promise<Engine> {
  return models.whenReachable(async () => {
    const engine = await models.engines.open({ engine: defaultEngine });
    await engine.info();
    return engine;
  });
}

/**
 * The policies asked for, of the policies' folder or of the paper's systems that come with the program, with other
 * demonstrations where they are given. Throws "invalid_request" where one does not exist, "configuration" where one is
 * wrong.
 */
export async function openArms(
  { models }: Run,
  options: Pick<RunOptions, "policy" | "prompt">,
  defaults: readonly string[],
  demonstrations: readonly Demonstration[] | null,
): Promise<Arm[]> {
  const names = options.policy.length > 0 ? options.policy : defaults;
  const files = await policyFiles(models, names, demonstrations);
  const { policies } = await models.whenReachable(() => buildPolicySet(files, models, names));
  return Promise.all(
    names.map((name) => {
      const arm = { name, policy: policies.get(name) as Policy };
      return options.prompt === undefined ? arm : changedArm(arm, { prompt: options.prompt });
    }),
  );
}

const papersPolicies = fileURLToPath(new URL("../../../paper/policies", import.meta.url));

/** The named policies' files, each with a route, and all sets of demonstrations. Throws as `openArms` does. */
export async function policyFiles(
  { policyFolder }: Pick<ModelRuntime, "policyFolder">,
  names: readonly string[],
  demonstrations: readonly Demonstration[] | null,
): Promise<PolicyFiles> {
  const own = await policyFolder.read();
  const paper = new Map<string, string>();
  for (const file of await readdir(papersPolicies))
    if (file !== "routes.yaml")
      paper.set(path.basename(file, ".yaml"), await readFile(path.join(papersPolicies, file), "utf8"));
  const textOf = (name: string): string => {
    const text = own.policies.get(name) ?? paper.get(name);
    const known = [...new Set([...own.policies.keys(), ...paper.keys()])];
    if (text === undefined)
      throw new GatewayError("invalid_request", `There is no policy "${name}". Known: ${known.join(", ")}.`);
    return text;
  };
  const set = demonstrations && demonstrationSet(demonstrations);
  return {
    policies: new Map(names.map((name) => [name, textOf(name)])),
    routes: JSON.stringify({ routes: Object.fromEntries(names.map((name) => [name, { policy: name }])) }),
    demonstrations: new Map([...own.demonstrations].map(([name, file]) => [name, set ?? file])),
  };
}

/**
 * Says how far `total` steps of work are, every ten seconds at most. What was known comes first and fast: the time left
 * is guessed from later steps.
 */
export function progressOf(
  what: string,
  total: number,
  { report, signal }: Pick<Run, "report" | "signal">,
): () => void {
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
      first === undefined
        ? ""
        : `, about ${Math.ceil((((now - first.at) / (done - first.done)) * (total - done)) / 60_000)} min left`;
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
  /** Every figure of the report, for programs. */
  readonly summary?: unknown;
}

/** `<name>.jsonl`, `report.md`, the figures, and `report.json` where there is a summary. */
export async function writeResults({ out, report }: Run, name: string, results: Results): Promise<void> {
  await writeLines(path.join(out, `${name}.jsonl`), results.rows);
  await writeWhole(path.join(out, "report.md"), results.report);
  if (results.summary !== undefined)
    await writeWhole(path.join(out, "report.json"), `${JSON.stringify(results.summary, null, 2)}\n`);
  for (const [file, svg] of results.figures ?? []) await writeWhole(path.join(out, file), svg);
  report(`results in ${out}`);
}
