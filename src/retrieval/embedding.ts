/** @module Stage 2 of the retriever: cosine of sentence embeddings over whole prompts. */
import { type Conversation, type Demonstration, promptText } from "../types/conversation.ts";
import {
  type Embedder,
  largest,
  permitted,
  type RetrievalOptions,
  type Retrieved,
  type Retriever,
} from "./retriever.ts";

/** The most similar of the demonstrations at `indices`. */
export type CosineRanking = (
  prompt: Conversation,
  indices: readonly number[],
  options: Pick<RetrievalOptions, "shots" | "tenant" | "signal">,
) => Promise<Retrieved[]>;

/** Cosine over all demonstrations. */
export function embeddingRetriever(demonstrations: readonly Demonstration[], embedder: Embedder): Retriever {
  const cosines = cosineRanking(demonstrations, embedder);
  const all = demonstrations.map((_, index) => index);
  return {
    async retrieve(prompt, options) {
      return cosines(prompt, all.filter(permitted(demonstrations, options.except)), options);
    },
  };
}

/** Embeddings of demonstrations are computed when first needed, and kept. */
export function cosineRanking(demonstrations: readonly Demonstration[], embedder: Embedder): CosineRanking {
  const kept = new Map<number, Float32Array>();
  return async (prompt, indices, { shots, tenant, signal }) => {
    const missing = indices.filter((index) => !kept.has(index));
    const [query] = await embedder.embed([promptText(prompt)], signal, tenant);
    const embeddings = await embedder.embedKept(
      missing.map((index) => promptText((demonstrations[index] as Demonstration).messages)),
      signal,
    );
    missing.forEach((index, i) => {
      kept.set(index, embeddings[i] as Float32Array);
    });
    const cosines = indices.map((index) => dot(query as Float32Array, kept.get(index) as Float32Array));
    return largest(cosines, shots).map((place) => ({
      demonstration: demonstrations[indices[place] as number] as Demonstration,
      similarity: cosines[place] as number,
    }));
  };
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}
