/** @module What of a policy's choice does not go together: waves, blocks, pruning, and the scores they need. */
import type { Capabilities } from "../engine/engine.ts";
import { type Blocks, blockField, blocksOf } from "./choice-schema.ts";
import type { Policy } from "./policy.ts";
import type { PolicySettings } from "./schema.ts";
import { rewardAsked, wantsConsensus } from "./score-schema.ts";

/** The field that is wrong, and why. */
export interface Misfit {
  readonly path: readonly string[];
  readonly reason: string;
}

/** Of an engine that samples. Null: all goes together. */
export function misfitOfChoice(settings: PolicySettings, { score }: Pick<Capabilities, "score">): Misfit | null {
  return misfitOfBlocks(settings, score) ?? misfitOfPruning(settings, score) ?? misfitOfEffort(settings);
}

/**
 * By which blocks a request is answered; null: it is chosen whole. Where a policy says nothing of it, streams are
 * answered by blocks, if what it does say goes with them.
 */
export function blocksFor(
  { settings, goesOn }: Pick<Policy, "settings" | "goesOn">,
  isStreamed: boolean,
): Blocks | null {
  if (settings.stream !== undefined || settings.block !== undefined) return blocksOf(settings, isStreamed);
  // Blocks go on from one thought.
  if (settings.reasoning?.thoughts === "own") return null;
  const inBlocks: PolicySettings = { ...settings, stream: "blocks" };
  return misfitOfChoice(inBlocks, { score: goesOn }) === null ? blocksOf(inBlocks, isStreamed) : null;
}

/** Why candidates cannot come in waves. */
function misfitOfEffort(settings: PolicySettings): Misfit | null {
  const { candidates, score, prune } = settings;
  if (typeof candidates === "number") return null;
  const at = (reason: string): Misfit => ({ path: ["candidates"], reason });
  if (score.type === "none") return at("a margin is one of scores, and this policy has none; give a number");
  if (blockField(settings) !== null) return at("each block has the same number of candidates; give a number");
  return prune === undefined ? null : at("a wave has no place for candidates that are dropped; give a number");
}

function misfitOfBlocks(settings: PolicySettings, goesOn: boolean): Misfit | null {
  const field = blockField(settings);
  if (field === null) return null;
  const reward = rewardAsked(settings.score);
  if (!goesOn) return { path: [field], reason: "this engine cannot go on from tokens" };
  if (wantsConsensus(settings.score))
    return {
      path: ["score", "consensus"],
      reason: "blocks of one answer have its beginning in common: embeddings hardly tell them apart",
    };
  if (reward === null) return null;
  return { path: reward.path, reason: "reward models judge whole answers: a policy with blocks cannot ask one" };
}

function misfitOfPruning(settings: PolicySettings, goesOn: boolean): Misfit | null {
  const { prune, score, block, stream } = settings;
  if (prune === undefined) return null;
  const at = (reason: string, path: readonly string[] = ["prune"]): Misfit => ({ path, reason });
  const reward = rewardAsked(score);
  if (!goesOn) return at("this engine cannot go on from tokens");
  if (score.type === "none") return at("candidates are dropped by their scores, and this policy has none");
  if (reward !== null) return at("reward models judge whole answers: a policy that prunes cannot ask one", reward.path);
  if (wantsConsensus(score))
    return at("answers agree when they are whole, and most are dropped before", ["score", "consensus"]);
  if (block !== undefined && stream === undefined)
    return at("all requests are answered by blocks: say stream: blocks, and only streams are");
  return null;
}
