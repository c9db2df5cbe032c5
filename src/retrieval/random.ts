/** @module Demonstrations drawn at random, without replacement: the paper's plain ICDPO. */
import type { Demonstration } from "../types/conversation.ts";
import { permitted, type Retriever } from "./retriever.ts";

export function randomRetriever(demonstrations: readonly Demonstration[]): Retriever {
  return {
    async retrieve(_prompt, { shots, random, except }) {
      const isPermitted = permitted(demonstrations, except);
      const remaining = demonstrations.filter((_, index) => isPermitted(index));
      const drawn: Demonstration[] = [];
      while (drawn.length < shots && remaining.length > 0)
        drawn.push(...remaining.splice(Math.floor(random() * remaining.length), 1));
      return drawn.map((demonstration) => ({ demonstration, similarity: null }));
    },
  };
}
