/** @module A loaded model with a ranking head: one number for a conversation and a response. */
import type { Conversation } from "../../types/conversation.ts";
import type { EngineInfo, EngineLoad } from "../engine.ts";
import type { Loaded, LoadOptions, RankingOptions } from "./child-messages.ts";
import { type NativeRanking, openRanking } from "./native-ranking.ts";
import { RankingSteps } from "./ranking-steps.ts";
import { fittingTokens, rankingText } from "./ranking-text.ts";

export interface RankingModel extends Loaded {
  load(): EngineLoad;
  limitThreads(threads: number): void;
  /**
   * The head's raw output: the larger, the better. Throws "context_length_exceeded" where the last message and the
   * response do not fit, "engine_failure" where what comes is no reward, "cancelled" by the signal.
   */
  reward(conversation: Conversation, response: string, signal: AbortSignal): Promise<number>;
}

/** Throws as `openRanking` does, and "configuration" where its numbers are no rewards. */
export async function loadRanking(options: LoadOptions, { template }: RankingOptions): Promise<RankingModel> {
  const native = await openRanking(options);
  const text = rankingText(native, template);
  const { contextSize } = native.size;
  const room = { contextSize, mostCharacters: contextSize * native.model.longestToken };
  const steps = new RankingSteps(native, native.size.threads);
  // A head that says nothing is found out now, not under the first request.
  await steps.reward(text([{ role: "user", content: "Hello" }], "Hello"), new AbortController().signal);
  return {
    info: infoOf(options.model, native, room.mostCharacters),
    size: native.size,
    load: () => steps.load,
    limitThreads: (threads) => native.setThreads(threads),
    reward: async (conversation, response, signal) =>
      steps.reward(fittingTokens(text, conversation, response, room), signal),
  };
}

function infoOf(model: string, { size, model: { vocabularySize } }: NativeRanking, mostCharacters: number): EngineInfo {
  const { contextSize, longerContext } = size;
  const capabilities = { chat: false, text: false, score: false, grammar: false, tools: null };
  return { model, contextSize, longerContext, mostCharacters, vocabularySize, capabilities, sharesPrefixes: false };
}
