/** @module `icdpo tune`: which policy suits a model, its demonstrations and these prompts? */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { GatewayError, messageOf, type World, writeWhole } from "icdpo-gateway/laboratory";
import { type AnswerMeasure, answerMeasures } from "../answer-measures.ts";
import { generatorKey, generatorsOf, type VariantArm } from "../generators.ts";
import type { AskedPrompt } from "../pool-rows.ts";
import { type SplitPrompts, splitPrompts } from "../split-prompts.ts";
import { rule, tunedPolicy } from "../tuned-policy.ts";
import { Tuning } from "../tuning.ts";
import { type PlannedGenerator, tuningPlan } from "../tuning-plan.ts";
import {
  heldOutFigure,
  heldOutFile,
  searchFigure,
  searchFile,
  type TuningReport,
  tuningReport,
} from "../tuning-report.ts";
import { comparedBy, summarizeTuning } from "../tuning-summary.ts";
import { plainLabel } from "../variants.ts";
import { describeNearest, heldApart, readAll } from "./asked-prompts.ts";
import { checkRewards, decisiveFirst, judgeEngineOf, withRewards } from "./measures.ts";
import { type GridFile, openVariants, type ParsedVariants, parseVariants } from "./open-variants.ts";
import { policyFiles, progressOf, type Run, withRun, writeResults } from "./run.ts";
import { addTuneOptions, limitOf, limitsOf, startOf, type TuneOptions } from "./tune-options.ts";

const ownGrid = fileURLToPath(new URL("../../tuning-grid.yaml", import.meta.url));
export const policyFile = "tuned.yaml";

export function tuneCommand(world: World): Command {
  const command = new Command("tune").description(
    "which policy suits this model, these demonstrations and prompts: a grid of settings, narrowed within a limit of time or tokens, and judged on prompts that nothing was tuned on",
  );
  return addTuneOptions(command).action((options: TuneOptions) => {
    checkRewards(options);
    const name = startOf(options);
    return withRun(world, "tune", options, async (run) => {
      const prompts = await readAll(options);
      const variants = await parseVariants(run.models, {
        name,
        files: await policyFiles(run.models, [name], null),
        grid: await gridOf(options.grid),
        prompt: options.prompt,
      });
      if (options.plan) process.stdout.write(planOf(options, name, variants, prompts));
      else await tuneAll(run, options, variants, prompts);
    });
  });
}

async function gridOf(given: string | undefined): Promise<GridFile> {
  const file = given ?? ownGrid;
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    throw new GatewayError("configuration", `The grid ${file} cannot be read: ${messageOf(error)}`, { cause: error });
  });
  return { file, text, isOurs: given === undefined };
}

function planOf(
  options: TuneOptions,
  name: string,
  { all, leftOut }: ParsedVariants,
  prompts: readonly AskedPrompt[],
): string {
  const { tuning, heldOut } = splitPrompts(prompts, options.heldOut, options.seed);
  const generators = new Map<string, PlannedGenerator>();
  for (const { label, settings, formats } of all) {
    const key = generatorKey(settings, formats.sampler);
    const known = generators.get(key) ?? { labels: [], settings: [] };
    generators.set(key, { labels: [...known.labels, label], settings: [...known.settings, settings] });
  }
  return tuningPlan({
    title: `Plan: ${name}`,
    generators: [...generators.values()],
    tuning: tuning.length,
    heldOut: heldOut.length,
    minutes: options.minutes,
    leftOut: leftOut.length,
    notes: limitsOf(options),
  });
}

async function tuneAll(
  run: Run,
  options: TuneOptions,
  parsed: ParsedVariants,
  asked: readonly AskedPrompt[],
): Promise<void> {
  const { cache, models, signal } = run;
  const variants = await openVariants(run.models, parsed, options.maxTokens);
  const start = variants[0] as VariantArm;
  const plain = variants.find(({ label }) => label === plainLabel) ?? start;
  const nearest = await heldApart(run, options, asked, start.arm);
  await withRewards(run, options, async (rewards) => {
    const judge = await judgeEngineOf(run, options);
    const sources = { prompts: asked, embedder: () => models.embedder(), rewards, judge, cache };
    const measure = decisiveFirst(await answerMeasures(sources), options.by)[0] as AnswerMeasure;
    const prompts = splitPrompts(asked.filter(measure.appliesTo), options.heldOut, options.seed);
    const { concurrency } = options;
    const progress = (what: string, count: number) => progressOf(what, count, run);
    const now = () => performance.now();
    const known = { measure, plain: plain.arm.policy.id, cache, now, limit: limitOf(options) };
    const tuning = new Tuning({ ...known, concurrency, signal, progress });
    const kept = new Set([start.arm.policy.id, plain.arm.policy.id]);
    const tuned = await tuning.tune(prompts.tuning, generatorsOf(variants), kept);
    const compared = comparedBy(tuned, { start, plain });
    const three = new Map(Object.values(compared).map((one) => [one.arm.policy.id, one]));
    const heldOut = await tuning.holdOut(prompts.heldOut, [...three.values()]);
    const summary = summarizeTuning(measure.name, tuned, heldOut, compared);
    const notes = [
      ...describe(options, { start, variants, prompts, spent: tuning.spent }),
      ...describeNearest(nearest),
    ];
    const report = { ...summary, title: `Tuning ${parsed.name}`, notes, leftOut: parsed.leftOut };
    await writeWhole(path.join(run.out, policyFile), tunedPolicy(parsed.name, compared.chosen, summary));
    await write(run, options, report, [...tuned.prompts, ...heldOut]);
  });
}

async function write(
  run: Run,
  { json }: Pick<TuneOptions, "json">,
  report: TuningReport,
  prompts: Parameters<typeof rowsOf>[0],
): Promise<void> {
  const page = tuningReport(report);
  const figures = new Map([
    [heldOutFile, heldOutFigure(report)],
    [searchFile, searchFigure(report)],
  ]);
  await writeResults(run, "trials", { rows: rowsOf(prompts), report: page, figures, summary: report });
  process.stdout.write(json ? `${JSON.stringify(report)}\n` : page);
}

/** A row for each answer, without its text: it stands in the cache. */
function rowsOf(prompts: Awaited<ReturnType<Tuning["holdOut"]>>) {
  return prompts.flatMap(({ set, id, tried }) =>
    [...tried].map(([policy, { reward, work, seconds, answer }]) => {
      const { tokens, finish, copied, fallback } = answer;
      return { set, id, policy, reward, work, seconds, tokens, finish, copied, fallback };
    }),
  );
}

interface Described {
  readonly start: VariantArm;
  readonly variants: readonly VariantArm[];
  readonly prompts: SplitPrompts;
  readonly spent: number;
}

function describe(options: TuneOptions, { start, variants, prompts, spent }: Described): string[] {
  const { tuning, heldOut } = prompts;
  const { policy } = start.arm;
  return [
    `start: ${policy.id}, format ${policy.sampler.format}; ${variants.length} policies of ${generatorsOf(variants).length} generators`,
    `${tuning.length} prompts for tuning, ${heldOut.length} held out, parted by their hashes and seed ${options.seed}`,
    `chosen: ${rule}, on the prompts for tuning`,
    ...limitsOf(options),
    `spent: ${Math.round(spent * 100)} % of the limit; at once: ${options.concurrency}`,
  ];
}
