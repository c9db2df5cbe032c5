/** @module `icdpo judge`: a language model compares what an experiment's arms say to the same requests. */
import { Command } from "commander";
import { inPool } from "../async/pool.ts";
import { judgePair } from "../demonstrations/judge.ts";
import { openTeacher, type Teacher } from "../demonstrations/teacher.ts";
import { answerGrammar } from "../gateway/answer-grammar.ts";
import { readSettings } from "../gateway/recorded-settings.ts";
import { termsOf } from "../gateway/terms.ts";
import { describeExperiment, type ExperimentRoute, experimentRoutes } from "../http/endpoints/experiments.ts";
import { icdpo } from "../icdpo/pipeline.ts";
import { genericToolSyntax } from "../icdpo/tool-prompt.ts";
import type { Arm } from "../policy/policy.ts";
import type { Database } from "../records/libsql-records.ts";
import type { JudgementRow, RecordedAnswer } from "../records/statements.ts";
import type { Conversation } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import { addEndpointOptions, type EndpointOptions, endpointKey, whole } from "./endpoint-options.ts";
import { renderReport, withDatabase } from "./experiments-command.ts";
import { type World, withRuntime } from "./world.ts";

interface JudgeOptions extends EndpointOptions {
  readonly limit: number;
  readonly days: number;
  readonly json?: boolean;
}

export function judgeCommand(world: World): Command {
  const command = new Command("judge")
    .description(
      "have a language model compare an experiment's arms, in both orders; needs recorded texts (ICDPO_KEEP_TEXT=1)",
    )
    .argument("<route>", "the route with the experiment")
    .option("--limit <number>", "how many recorded answers, the newest first", whole, 100)
    .option("--days <number>", "how far to look back", whole, 30)
    .option("--json", "print the report as JSON");
  return addEndpointOptions(command).action((name: string, options: JudgeOptions) =>
    withRuntime(world, (runtime, signal) =>
      withDatabase(world, async (database) => {
        const route = experimentRoutes(runtime.policies.current).find((one) => one.name === name);
        if (route === undefined)
          throw new GatewayError("experiment_not_found", `There is no route "${name}" with an experiment.`);
        const judge = openTeacher({
          ...options,
          baseURL: options.baseUrl,
          apiKey: endpointKey(options),
          report: world.report,
        });
        const { made, unreadable } = await judgeExperiment(database, route, judge, options, {
          signal,
          report: world.report,
        });
        const report = await database.report(describeExperiment(route));
        const counts = { win: 0, tie: 0, lose: 0, unreadable };
        for (const { value } of made) counts[value === 1 ? "win" : value === 0 ? "lose" : "tie"] += 1;
        if (options.json) process.stdout.write(`${JSON.stringify({ judged: made.length, ...counts, report })}\n`);
        else
          process.stdout.write(
            `${made.length} judged now: ${counts.win} win, ${counts.tie} tie, ${counts.lose} lose; ${counts.unreadable} unreadable\n\n${renderReport(report)}\n`,
          );
      }),
    ),
  );
}

interface Pair {
  readonly answer: RecordedAnswer;
  readonly text: string;
  readonly settings: NonNullable<ReturnType<typeof readSettings>>;
  /** The arm whose answer stands against the recorded one. */
  readonly other: Arm;
}

/**
 * Recorded answers with text beside the arms that they are compared with, those without an opinion of this judge; how
 * many are left out, by why.
 */
async function openPairs(
  database: Database,
  { experiment }: ExperimentRoute,
  judge: string,
  { days, limit }: Pick<JudgeOptions, "days" | "limit">,
): Promise<{ readonly pairs: readonly Pair[]; readonly leftOut: ReadonlyMap<string, number> }> {
  const since = Date.now() - days * 24 * 60 * 60 * 1000;
  const answers = await database.texts({ since, experiment: experiment.name, limit });
  const judged = new Set(
    (await database.judgements(experiment.name, judge)).map(({ answer, other }) => `${answer} ${other}`),
  );
  const leftOut = new Map<string, number>();
  const pairs = answers.flatMap((answer) => {
    const others =
      answer.arm === experiment.control.name
        ? experiment.arms.filter((arm) => arm !== experiment.control)
        : [experiment.control];
    const open = others.filter((other) => !judged.has(`${answer.id} ${other.name}`));
    if (open.length === 0) return [];
    const settings = readSettings(answer.settings);
    const text = (answer.answers as { content: string | null }[])[0]?.content ?? null;
    if (settings !== null && !settings.usesTools && text !== null)
      return open.map((other) => ({ answer, text, settings, other }));
    const reason =
      settings === null
        ? "recorded without the request's own settings"
        : "to requests with tools, which are not recorded";
    leftOut.set(reason, (leftOut.get(reason) ?? 0) + 1);
    return [];
  });
  return { pairs, leftOut };
}

/** Writes each judgement as soon as it is made. Throws the first failure: what was judged is kept. */
export async function judgeExperiment(
  database: Database,
  route: ExperimentRoute,
  judge: Teacher,
  options: Pick<JudgeOptions, "days" | "limit" | "concurrency">,
  { signal, report }: { readonly signal: AbortSignal; readonly report: World["report"] },
): Promise<{ readonly made: readonly JudgementRow[]; readonly unreadable: number }> {
  const { pairs, leftOut } = await openPairs(database, route, judge.model, options);
  report(`${pairs.length} comparisons to make`);
  for (const [reason, count] of leftOut) report(`${count} answers are left out: they were ${reason}`);
  const made: JudgementRow[] = [];
  const judgeOne = async ({ answer, text, settings, other }: Pair, stopped: AbortSignal): Promise<void> => {
    const conversation = answer.request as Conversation;
    const against = await answerOf(other, conversation, settings, stopped);
    const value = await judgePair(
      judge,
      conversation,
      text,
      against,
      `icdpo-judge-${answer.id}-${other.name}`,
      stopped,
    );
    if (value === null) return;
    const row = {
      answer: answer.id,
      judge: judge.model,
      experiment: route.experiment.name,
      arm: answer.arm ?? "",
      other: other.name,
      value,
      at: Date.now(),
    };
    await database.judgement(row);
    made.push(row);
    if (made.length % 10 === 0) report(`${made.length} of ${pairs.length}`);
  };
  try {
    await inPool(pairs, { concurrency: options.concurrency, signal }, judgeOne);
  } catch (error) {
    report(`${made.length} of ${pairs.length} are judged, and kept; the same command goes on.`);
    throw error;
  }
  return { made, unreadable: pairs.length - made.length };
}

/** What an arm says now to a request of such settings. */
async function answerOf(
  { policy: arm }: Arm,
  conversation: Conversation,
  settings: Pair["settings"],
  signal: AbortSignal,
): Promise<string> {
  const { seed, answers, topLogprobs, format, variables, reasoning } = settings;
  const asked = { conversation, sampling: settings.sampling, answers, tools: [], format, variables };
  const { policy, sampling } = termsOf(arm, asked);
  const syntax = (await policy.sampler.engine.info(signal)).capabilities.tools ?? genericToolSyntax;
  const { gbnf: grammar } = answerGrammar({ tools: [], toolChoice: "auto", parallelToolCalls: true, format }, syntax);
  const { budget_ms: budget } = policy.settings;
  const { ranked } = await icdpo(policy, {
    conversation,
    sampling,
    variables,
    reasoning,
    within: settings.sampling.maxTokens,
    grammar,
    topLogprobs: topLogprobs ?? undefined,
    answers,
    seed,
    signal,
    budget: budget === undefined ? undefined : AbortSignal.timeout(budget),
    now: () => performance.now(),
  });
  return ranked[0]?.text ?? "";
}
