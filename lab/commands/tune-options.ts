/** @module The options of `icdpo tune`. */
import { type Command, InvalidArgumentError } from "commander";
import { GatewayError, whole } from "icdpo-gateway/laboratory";
import type { Limit } from "../halving.ts";
import { addPromptOptions, type PromptOptions } from "./asked-prompts.ts";
import { addDecisionOptions, addRewardOptions, type DecisionOptions, type RewardOptions } from "./measures.ts";
import { addRunOptions, type RunOptions } from "./options.ts";

export type TuneOptions = RunOptions &
  RewardOptions &
  DecisionOptions &
  PromptOptions & {
    readonly grid?: string;
    readonly minutes: number;
    readonly tokens?: number;
    readonly heldOut: number;
    readonly maxTokens?: number;
    readonly plan?: boolean;
    readonly prompt?: NonNullable<RunOptions["prompt"]>;
  };

const defaults = ["everyday"] as const;
const startMeaning = "the policy to start from, one";

export function addTuneOptions(command: Command): Command {
  return addDecisionOptions(addPromptOptions(addRewardOptions(addRunOptions(command, defaults, startMeaning))))
    .option("--grid <file>", "what is tried: YAML, a list of grids, each with lists of values by field (default: ours)")
    .option("--minutes <number>", "of work, over all starts of this run", positive, 60)
    .option("--tokens <number>", "that the models may work through, prompts among them (default: any number)", whole)
    .option("--held-out <share>", "of the prompts, that nothing is tuned on", share, 0.4)
    .option("--max-tokens <number>", "longest answer while tuning (default: the policy's)", whole)
    .option("--plan", "say what would be done, and sample nothing");
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError("must be a number above 0");
  return value;
}

function share(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < 1)) throw new InvalidArgumentError("must be between 0 and 1");
  return value;
}

/** Throws "invalid_request" where several are named. */
export function startOf({ policy }: Pick<TuneOptions, "policy">): string {
  const [name = defaults[0], ...others] = policy;
  if (others.length > 0)
    throw new GatewayError("invalid_request", "One policy is tuned at a time: name one with --policy.");
  return name;
}

export function limitOf({ minutes, tokens = Number.POSITIVE_INFINITY }: TuneOptions): Limit {
  return { ms: minutes * 60_000, tokens };
}

/** In words. */
export function limitsOf({ minutes, tokens, maxTokens }: TuneOptions): string[] {
  return [
    `limit: ${minutes} minutes of work`,
    ...(tokens === undefined ? [] : [`at most ${tokens} tokens worked through`]),
    ...(maxTokens === undefined ? [] : [`at most ${maxTokens} tokens an answer`]),
  ];
}
