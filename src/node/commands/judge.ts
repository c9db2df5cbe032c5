/** @module `icdpo judge`: a language model compares what an experiment's arms say to the same requests. */
import { Command } from "commander";
import { judgePair } from "../../evaluation/judge.ts";
import { openTeacher, type Teacher } from "../../evaluation/teacher.ts";
import type { JudgementRow, RecordedAnswer } from "../../experiment/database.ts";
import { describeExperiment, type ExperimentRoute, experimentRoutes } from "../../http/experiments.ts";
import { icdpo } from "../../icdpo/pipeline.ts";
import type { Arm } from "../../policy/policy.ts";
import type { Conversation } from "../../types/conversation.ts";
import { GatewayError } from "../../types/error.ts";
import type { Database } from "../store/database.ts";
import { addEndpointOptions, type EndpointOptions, endpointKey, whole } from "./endpoint.ts";
import { renderReport, withDatabase } from "./experiments.ts";
import { type World, withRuntime } from "./world.ts";

interface JudgeOptions extends EndpointOptions {
  readonly limit: number;
  readonly days: number;
  readonly json?: boolean;
}

export function judgeCommand(world: World): Command {
  const command = new Command("judge")
    .description("have a language model compare an experiment's arms, in both orders; needs recorded texts (ICDPO_KEEP_TEXT=1)")
    .argument("<route>", "the route with the experiment")
    .option("--limit <number>", "how many recorded answers, the newest first", whole, 100)
    .option("--days <number>", "how far to look back", whole, 30)
    .option("--json", "print the report as JSON");
  return addEndpointOptions(command).action((name: string, options: JudgeOptions) =>
    withRuntime(world, (runtime, signal) =>
      withDatabase(world, async (database) => {
        const route = experimentRoutes(runtime.policies.current).find((one) => one.name === name);
        if (route === undefined) throw new GatewayError("experiment_not_found", `There is no route "${name}" with an experiment.`);
        const judge = openTeacher({ ...options, baseURL: options.baseUrl, apiKey: endpointKey(options), report: world.report });
        const pairs = await openPairs(database, route, judge.model, options);
        world.report(`${pairs.length} comparisons to make`);
        const made = await judgeAll(database, route, judge, options.concurrency, pairs, signal, world.report);
        const report = await database.report(describeExperiment(route));
        const counts = { win: 0, tie: 0, lose: 0, unreadable: pairs.length - made.length };
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
  /** The arm whose answer stands against the recorded one. */
  readonly other: Arm;
}

/** Recorded answers with text beside the arms that they are compared with, those without an opinion of this judge. */
async function openPairs(
  database: Database,
  { experiment }: ExperimentRoute,
  judge: string,
  { days, limit }: JudgeOptions,
): Promise<Pair[]> {
  const since = Date.now() - days * 24 * 60 * 60 * 1000;
  const answers = await database.texts({ since, experiment: experiment.name, limit });
  const judged = new Set((await database.judgements(experiment.name, judge)).map(({ answer, other }) => `${answer} ${other}`));
  return answers.flatMap((answer) => {
    const others =
      answer.arm === experiment.control.name ? experiment.arms.filter((arm) => arm !== experiment.control) : [experiment.control];
    return others.filter((other) => !judged.has(`${answer.id} ${other.name}`)).map((other) => ({ answer, other }));
  });
}

async function judgeAll(
  database: Database,
  { experiment }: ExperimentRoute,
  judge: Teacher,
  concurrency: number,
  pairs: readonly Pair[],
  signal: AbortSignal,
  report: World["report"],
): Promise<JudgementRow[]> {
  const made: JudgementRow[] = [];
  const left = pairs.map((pair, seed) => ({ ...pair, seed }));
  const judgeOne = async ({ answer, other, seed }: Pair & { readonly seed: number }): Promise<void> => {
    const conversation = answer.request as Conversation;
    const given = (answer.answers as { content: string | null }[])[0]?.content ?? "";
    const against = await answerOf(other, conversation, seed, signal);
    const value = await judgePair(judge, conversation, given, against, `icdpo-judge-${answer.id}-${other.name}`, signal);
    if (value === null) return;
    const row = {
      answer: answer.id,
      judge: judge.model,
      experiment: experiment.name,
      arm: answer.arm ?? "",
      other: other.name,
      value,
      at: Date.now(),
    };
    await database.judgement(row);
    made.push(row);
    if (made.length % 10 === 0) report(`${made.length} of ${pairs.length}`);
  };
  const work = async (): Promise<void> => {
    for (let pair = left.shift(); pair !== undefined; pair = left.shift()) await judgeOne(pair);
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  return made;
}

/** What an arm says to a request now. */
async function answerOf({ policy }: Arm, conversation: Conversation, seed: number, signal: AbortSignal): Promise<string> {
  const { temperature, top_p: topP, top_k: topK, max_tokens: maxTokens } = policy.settings.sampling;
  const sampling = { temperature, topP, topK, maxTokens, stop: [] };
  const { ranked } = await icdpo(policy, { conversation, sampling, answers: 1, seed, now: () => performance.now(), signal });
  return ranked[0]?.text ?? "";
}
