/** @module R of Eq. 12: BM25 over the last L tokens keeps a shortlist, sentence embeddings of the question re-rank it. */
import type { Demonstration } from "../types/conversation.ts";
import { type Bm25Source, bm25Ranking } from "./bm25.ts";
import { cosineRanking, type Selection } from "./embedding.ts";
import { type Embedder, permitted, type Retriever } from "./retriever.ts";

export async function twoStageRetriever(
  demonstrations: readonly Demonstration[],
  source: Bm25Source,
  embedder: Embedder,
  settings: Selection & { readonly window: number; readonly shortlist: number },
): Promise<Retriever> {
  const rank = await bm25Ranking(demonstrations, source, settings.window);
  const cosines = cosineRanking(demonstrations, embedder, settings);
  return {
    async retrieve(prompt, options) {
      const shortlist = await rank(
        prompt,
        settings.shortlist,
        permitted(demonstrations, options.except),
        options.signal,
      );
      return cosines(
        prompt,
        shortlist.map(({ index }) => index),
        options,
      );
    },
  };
}
