/** @module A model as judge without words: the log-odds of the letters A and B, in both orders. */
import { type Conversation, type Engine, forcedSums, GatewayError, noUsage } from "icdpo-gateway/laboratory";
import type { RewardModel } from "./reward.ts";

/**
 * How much likelier the model finds it that `response` is the better answer than that `opponent` is, in nats:
 *
 * ½ [log P(A ∣ response is A) − log P(B ∣ response is A)] + ½ [log P(B ∣ response is B) − log P(A ∣ response is B)]
 *
 * A leaning to a letter or a place cancels out; an answer against itself has 0. Throws "invalid_request" where the model
 * has no chat template.
 */
export async function judgeOdds(engine: Engine, opponent: string): Promise<RewardModel> {
  const { model, capabilities } = await engine.info();
  if (!capabilities.chat || !capabilities.score)
    throw new GatewayError(
      "invalid_request",
      `The judge ${model} must have a chat template and log-probabilities: name another engine.`,
    );
  const letters = await engine.tokenize(["A", "B"]);
  const oddsOfA = async (conversation: Conversation, a: string, b: string, signal: AbortSignal): Promise<number> => {
    const prompt = await engine.chatPrompt([{ role: "user", content: questionOf(conversation, a, b) }], signal);
    const context = { engine, format: "chat", prompt } as const;
    const [ofA, ofB] = await forcedSums(context, letters, { usage: noUsage(), signal });
    return (ofA as number) - (ofB as number);
  };
  return {
    id: JSON.stringify(["judge odds", model, question, opponent]),
    async reward(conversation, response, signal) {
      const first = await oddsOfA(conversation, response, opponent, signal);
      const second = await oddsOfA(conversation, opponent, response, signal);
      return (first - second) / 2;
    },
    close: async () => {},
  };
}

const question =
  "Which of the two answers to the end of the conversation is more helpful, correct, harmless and honest? Ignore their order and length. Reply with one letter, A or B.";

function questionOf(conversation: Conversation, a: string, b: string): string {
  const turns = conversation.map(({ role, content }) => `${role}: ${content}`).join("\n\n");
  return `# Conversation\n\n${turns}\n\n# Answer A\n\n${a}\n\n# Answer B\n\n${b}\n\n# Question\n\n${question}`;
}
