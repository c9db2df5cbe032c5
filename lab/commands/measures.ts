/** @module Options that say what answers are measured by: reward models, a judge, a policy's demonstrations. */
import type { Command } from "commander";
import {
  addPriceOptions,
  costOf,
  type Engine,
  endpointKey,
  GatewayError,
  openTeacher,
  type Priced,
  type PromptFormat,
  pause,
  whole,
} from "icdpo-gateway/laboratory";
import type { AnswerMeasure } from "../answer-measures.ts";
import { type CountedTeacher, cachedTeacher } from "../cached-teacher.ts";
import { cachedReward, engineReward, httpReward, type RewardModel } from "../reward.ts";
import type { Run } from "./run.ts";

export interface RewardOptions {
  readonly reward: readonly string[];
  readonly rewardTemplate?: string;
  readonly rewardKeyVariable: string;
  readonly retries: number;
  readonly prompt?: PromptFormat;
}

export interface MeasureOptions extends RewardOptions, Priced {
  readonly judge?: string;
  readonly judgeUrl: string;
  readonly judgeKeyVariable: string;
  readonly judgeMaxTokens: number;
}

export function addRewardOptions(command: Command): Command {
  const rewardHelp =
    "llama:FILE.gguf (or hf: URI; a ranking head), an http(s) URL that takes {messages, response} and returns {reward}, or vLLM's …/classify; engine:NAME (its " +
    "log-probability; engine:NAME/token per token); again for another, with a label before =";
  return command
    .option("--reward <label=model>", rewardHelp, (text: string, before: readonly string[]) => [...before, text], [])
    .option("--reward-template <text>", "of llama: models, with {{query}} and {{document}} (default: the model's own)")
    .option(
      "--reward-key-variable <name>",
      "the environment variable that holds a reward endpoint's key",
      "ICDPO_REWARD_KEY",
    )
    .option("--retries <number>", "of a call that failed for a reason that may pass", whole, 5);
}

export interface DecisionOptions {
  readonly by?: string;
  readonly judgeEngine?: string;
}

export function addDecisionOptions(command: Command): Command {
  return command
    .option("--by <measure>", "the measure that decides (default: the first that there is)")
    .option(
      "--judge-engine <name>",
      "an engine of the engines file as judge, by the log-odds of A and B in both orders",
    );
}

/** Undefined where none is asked for. */
export async function judgeEngineOf(run: Run, { judgeEngine }: DecisionOptions): Promise<Engine | undefined> {
  return judgeEngine === undefined ? undefined : engineNamed(run, judgeEngine);
}

/** The one that decides first. Throws "invalid_request" where there is none. */
export function decisiveFirst(measures: readonly AnswerMeasure[], by: string | undefined): AnswerMeasure[] {
  const known = measures.map(({ name }) => name);
  if (by !== undefined && !known.includes(by))
    throw new GatewayError("invalid_request", `--by ${by}: there is no such measure. Known: ${known.join(", ")}.`);
  return measures.toSorted((a, b) => Number(b.name === by) - Number(a.name === by));
}

export function addMeasureOptions(command: Command): Command {
  addRewardOptions(command)
    .option("--judge <model>", "a language model that compares answers, in both orders")
    .option("--judge-url <url>", "its OpenAI-compatible endpoint", "https://api.openai.com/v1")
    .option("--judge-key-variable <name>", "the environment variable that holds its API key", "OPENAI_API_KEY")
    .option("--judge-max-tokens <number>", "longest opinion", whole, 512);
  return addPriceOptions(command);
}

/** Reward models by label; all are closed when `work` ends. */
export async function withRewards<Result>(
  run: Run,
  options: RewardOptions,
  work: (rewards: ReadonlyMap<string, RewardModel>) => Promise<Result>,
): Promise<Result> {
  const rewards = new Map<string, RewardModel>();
  try {
    for (const spec of options.reward) {
      const { label, model } = labelled(spec);
      rewards.set(label, cachedReward(await openReward(run, model, options), run.cache));
    }
    return await work(rewards);
  } finally {
    await Promise.all([...rewards.values()].map((reward) => reward.close()));
  }
}

/** Before anything is begun. Throws "invalid_request" where a reward model is named in no known way. */
export function checkRewards({ reward }: Pick<RewardOptions, "reward">): void {
  for (const spec of reward)
    if (!/^(?:llama:.|engine:.|https?:\/\/)/u.test(labelled(spec).model))
      throw new GatewayError(
        "invalid_request",
        `--reward ${spec}: llama:FILE.gguf, engine:NAME or an http(s) URL is expected.`,
      );
}

/** `label=model`; without a label, the whole. */
export function labelled(spec: string): { readonly label: string; readonly model: string } {
  const [, label = spec, model = spec] = /^([^=:/]+)=(.+)$/u.exec(spec) ?? [];
  return { label, model };
}

async function openReward(run: Run, spec: string, options: RewardOptions): Promise<RewardModel> {
  if (spec.startsWith("llama:"))
    return run.models.openReward({ model: spec.slice("llama:".length), template: options.rewardTemplate });
  if (spec.startsWith("engine:")) {
    const [, name = "", perToken] = /^engine:(.*?)(\/token)?$/u.exec(spec) ?? [];
    const engine = await engineNamed(run, name);
    return engineReward(engine, options.prompt ?? (await formatOf(engine)), perToken === undefined ? "sum" : "token");
  }
  return httpReward({
    url: spec,
    apiKey: process.env[options.rewardKeyVariable],
    retries: options.retries,
    fetch,
    pause,
  });
}

/** `name`, or `name+adapter`. Throws "configuration" where there is none of that name. */
export function engineNamed({ models }: Run, name: string): Promise<Engine> {
  const [engine = "", adapter] = name.split("+");
  return models.engines.open({ engine, adapter });
}

/** The chat template where the model has one, else the paper's. */
export async function formatOf(engine: Engine): Promise<PromptFormat> {
  return (await engine.info()).capabilities.chat ? "chat" : "hh-rlhf";
}

/** Undefined where none is asked for. */
export function openJudge(run: Run, options: MeasureOptions): CountedTeacher | undefined {
  const {
    judge: model,
    judgeUrl: baseURL,
    judgeKeyVariable: keyVariable,
    judgeMaxTokens: maxTokens,
    retries,
  } = options;
  if (model === undefined) return undefined;
  const apiKey = endpointKey({ keyVariable, baseUrl: baseURL });
  return cachedTeacher(
    openTeacher({ baseURL, apiKey, model, maxTokens, temperature: 0, retries, report: run.report }),
    run.cache,
  );
}

/** A line for the report. */
export function judgeCost(judge: CountedTeacher | undefined, { inputPrice, outputPrice }: Priced): string[] {
  if (judge === undefined) return [];
  const used = judge.used();
  const cost = costOf({ input: inputPrice, output: outputPrice }, used);
  const priced = inputPrice + outputPrice > 0 ? `; cost: ${cost.toFixed(2)}` : "";
  return [
    `- judge ${judge.model}: ${used.calls} opinions, ${used.promptTokens} prompt and ${used.completionTokens} answer tokens${priced}`,
  ];
}
