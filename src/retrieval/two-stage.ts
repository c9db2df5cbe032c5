/** @module R of Eq. 12: BM25 over the last L tokens keeps a shortlist, sentence embeddings re-rank it. */
import type { Engine } from "../engine/engine.ts";
import type { Demonstration } from "../types/conversation.ts";
import { bm25Ranking } from "./bm25.ts";
import { cosineRanking } from "./embedding.ts";
import { type Embedder, largest, permitted, type Retriever } from "./retriever.ts";

export async function twoStageRetriever(
  demonstrations: readonly Demonstration[],
  engine: Engine,
  embedder: Embedder,
  settings: { readonly window: number; readonly shortlist: number },
): Promise<Retriever> {
  const rank = await bm25Ranking(demonstrations, engine, settings.window);
  const cosines = cosineRanking(demonstrations, embedder);
  return {
    async retrieve(prompt, { shots, except, signal }) {
      const shortlist = largest(await rank(prompt, signal), settings.shortlist, permitted(demonstrations, except));
      return cosines(prompt, shortlist, shots, signal);
    },
  };
}
