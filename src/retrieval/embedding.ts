/** @module Stage 2 of the retriever: cosine of sentence embeddings of what is asked. */
import { untilAborted } from "../async/until-aborted.ts";
import type { Conversation, Demonstration } from "../types/conversation.ts";
import { marginallyRelevant } from "./marginal-relevance.ts";
import { embedQuestions, questionOf } from "./question.ts";
import {
  type Embedder,
  largest,
  permitted,
  type RetrievalOptions,
  type Retrieved,
  type Retriever,
} from "./retriever.ts";

/** Which of the demonstrations are shown; named as in policies. */
export interface Selection {
  /** Cosine: what is less similar is left out. Absent: nothing is. */
  readonly min_similarity?: number | undefined;
  /** λ of maximal marginal relevance; absent: 1, the most similar. */
  readonly mmr?: number | undefined;
}

/** The demonstrations to show of those at `indices`, most similar first. */
export type CosineRanking = (
  prompt: Conversation,
  indices: readonly number[],
  options: Pick<RetrievalOptions, "shots" | "tenant" | "signal">,
) => Promise<Retrieved[]>;

/** Cosine over all demonstrations. */
export function embeddingRetriever(
  demonstrations: readonly Demonstration[],
  embedder: Embedder,
  selection: Selection = {},
): Retriever {
  const cosines = cosineRanking(demonstrations, embedder, selection);
  const all = demonstrations.map((_, index) => index);
  return {
    async retrieve(prompt, options) {
      return cosines(prompt, all.filter(permitted(demonstrations, options.except)), options);
    },
  };
}

export function cosineRanking(
  demonstrations: readonly Demonstration[],
  embedder: Embedder,
  { min_similarity: least = Number.NEGATIVE_INFINITY, mmr = 1 }: Selection,
): CosineRanking {
  const embeddingsOf = demonstrationEmbeddings(demonstrations, embedder);
  return async (prompt, indices, { shots, tenant, signal }) => {
    const [query] = await embedQuestions([questionOf(prompt)], (texts) => embedder.embed(texts, signal, tenant));
    const embeddings = await untilAborted(embeddingsOf(indices), signal);
    const near = indices.flatMap((index, i) => {
      const embedding = embeddings[i] as Float32Array;
      const similarity = cosine(query as Float32Array, embedding);
      const demonstration = demonstrations[index] as Demonstration;
      return similarity < least ? [] : [{ found: { demonstration, similarity }, embedding }];
    });
    const cosines = near.map(({ found }) => found.similarity);
    const between = (a: number, b: number) =>
      cosine(near[a]?.embedding as Float32Array, near[b]?.embedding as Float32Array);
    const places = mmr === 1 ? largest(cosines, shots) : marginallyRelevant(cosines, between, shots, mmr);
    return places
      .map((place) => (near[place] as (typeof near)[number]).found)
      .toSorted((a, b) => b.similarity - a.similarity);
  };
}

/** `[indices][dimensions]`: computed when first needed, once for all who need them meanwhile, and kept. */
function demonstrationEmbeddings(
  demonstrations: readonly Demonstration[],
  embedder: Embedder,
): (indices: readonly number[]) => Promise<Float32Array[]> {
  const kept = new Map<number, Promise<Float32Array>>();
  return (indices) => {
    const missing = indices.filter((index) => !kept.has(index));
    const questions = missing.map((index) => questionOf((demonstrations[index] as Demonstration).messages));
    // No one request's: others wait for it as well, whoever leaves.
    const made = embedQuestions(questions, async (texts) => (texts.length === 0 ? [] : embedder.embedKept(texts)));
    for (const [i, index] of missing.entries()) {
      const embedding = made.then((embeddings) => embeddings[i] as Float32Array);
      embedding.catch(() => kept.delete(index));
      kept.set(index, embedding);
    }
    return Promise.all(indices.map((index) => kept.get(index) as Promise<Float32Array>));
  };
}

/** Of embeddings, whose length is 1. */
export function cosine(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}
