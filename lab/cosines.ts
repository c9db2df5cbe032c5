/** @module Cosines of sentence embeddings: how alike a pool's answers are, and how near prompts stand to demonstrations. */
import { type Conversation, cosine, type Demonstration, type Embedder } from "icdpo-gateway/laboratory";

/** `[texts][texts]`, to a millionth. */
export async function cosinesOf(
  embedder: Embedder,
  texts: readonly string[],
  signal: AbortSignal,
): Promise<number[][]> {
  const embeddings = await embedder.embed(texts, signal);
  return embeddings.map((one) => embeddings.map((other) => Math.round(cosine(one, other) * 1e6) / 1e6));
}

export interface Nearest {
  /** The prompt's id. */
  readonly prompt: string;
  readonly demonstration: string;
  readonly cosine: number;
}

/**
 * `[prompts]`: the demonstration whose question is nearest to the prompt's, by the last user turns. Empty without
 * demonstrations.
 */
export async function nearestDemonstrations(
  embedder: Embedder,
  prompts: readonly { readonly id: string; readonly messages: Conversation }[],
  demonstrations: readonly Demonstration[],
  signal: AbortSignal,
): Promise<Nearest[]> {
  if (demonstrations.length === 0) return [];
  const asked = ({ messages }: { readonly messages: Conversation }): string =>
    messages.findLast(({ role }) => role === "user")?.content ?? "";
  const [own, shown] = [
    await embedder.embed(prompts.map(asked), signal),
    await embedder.embedKept(demonstrations.map(asked), signal),
  ];
  return prompts.map(({ id }, i) => {
    const cosines = shown.map((embedding) => cosine(own[i] as Float32Array, embedding));
    const nearest = cosines.reduce((best, value, j) => (value > (cosines[best] as number) ? j : best), 0);
    return {
      prompt: id,
      demonstration: (demonstrations[nearest] as Demonstration).id,
      cosine: cosines[nearest] as number,
    };
  });
}
