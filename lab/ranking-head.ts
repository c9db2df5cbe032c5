/**
 * @module A reward model in GGUF with a ranking head, by node-llama-cpp in this process: for evaluations, which serve
 * nobody meanwhile.
 */
import { stat } from "node:fs/promises";
import path from "node:path";
import { type Conversation, GatewayError } from "icdpo-gateway/laboratory";
import type { LlamaRankingContextOptions } from "node-llama-cpp";
import { logit, type RewardModel } from "./reward.ts";

export type RewardTemplate = NonNullable<LlamaRankingContextOptions["template"]>;

/**
 * The head's raw output: node-llama-cpp returns its sigmoid. A single message is the query as it stands, several are
 * "Human: …", "Assistant: …" turns. Without `template` ({{query}} and {{document}}), the model's own, or query and
 * response with end tokens. Throws "model_unavailable".
 */
export async function openLlamaReward(file: string, template?: RewardTemplate): Promise<RewardModel> {
  const { size, mtimeMs } = await stat(file).catch((error: Error) => {
    throw new GatewayError("model_unavailable", `There is no reward model ${file}: ${error.message}`, { cause: error });
  });
  // Imported when asked for: other evaluations load no second llama.cpp into this process. It decodes on libuv's pool,
  // where UV_THREADPOOL_SIZE=1 in the environment is faster; scoring whole texts loses little by the default.
  const { getLlama, LlamaLogLevel } = await import("node-llama-cpp");
  const llama = await getLlama({ build: "never", logLevel: LlamaLogLevel.error });
  try {
    const model = await llama.loadModel({ modelPath: file });
    const context = await model.createRankingContext(template === undefined ? {} : { template });
    return {
      id: JSON.stringify(["llama", path.basename(file), size, mtimeMs, template ?? null]),
      reward: async (conversation, response) => logit(await context.rank(queryOf(conversation), response)),
      close: () => llama.dispose(),
    };
  } catch (error) {
    await llama.dispose();
    throw new GatewayError(
      "model_unavailable",
      `${file} is no reward model that can be used: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}

function queryOf(conversation: Conversation): string {
  const [only, ...more] = conversation;
  if (only !== undefined && more.length === 0) return only.content;
  return conversation
    .map(({ role, content }) => `${role === "assistant" ? "Assistant" : "Human"}: ${content}`)
    .join("\n\n");
}
