/** @module Consensus: how much a candidate says what the others say, as minimum Bayes risk decoding has it. */
import { cosine } from "../retrieval/embedding.ts";
import type { Embedder } from "../retrieval/retriever.ts";
import { GatewayError } from "../types/error.ts";

/**
 * `[texts]`: the mean cosine of each text's sentence embedding to those of the others, from −1 to 1; null for empty
 * ones, which do not count, and where there are no others. Texts that occur twice are embedded once, and count twice.
 * Throws "configuration" without an embedder, and what it throws.
 *
 * @example await consensusOf(["Yes.", "Yes.", "No."], embedder) // [0.8, 0.8, 0.6], were cos(yes, no) 0.6
 */
export async function consensusOf(
  texts: readonly string[],
  embedder: Embedder | undefined,
  signal?: AbortSignal,
  tenant?: string,
): Promise<(number | null)[]> {
  if (embedder === undefined)
    throw new GatewayError("configuration", "This policy was built without the sentence embeddings that it needs.");
  const distinct = [...new Set(texts)].filter((text) => text !== "");
  const counted = texts.filter((text) => text !== "");
  if (counted.length < 2) return texts.map(() => null);
  const embeddings = await embedder.embed(distinct, signal, tenant);
  const byText = new Map(distinct.map((text, i) => [text, embeddings[i] as Float32Array]));
  return texts.map((text, i) => {
    const own = byText.get(text);
    if (own === undefined) return null;
    const others = texts.flatMap((other, j) => (i === j || other === "" ? [] : [byText.get(other) as Float32Array]));
    return others.reduce((sum, other) => sum + cosine(own, other), 0) / others.length;
  });
}
