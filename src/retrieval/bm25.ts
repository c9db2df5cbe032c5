/**
 * @module BM25 as in `rank_bm25`'s BM25Okapi: k1 = 1.5, b = 0.75, idf = ln(N − df + 0.5) − ln(df + 0.5), a negative idf replaced by
 * 0.25 × the mean idf; query tokens count as often as they stand. An inverted index in typed arrays, with each posting's weight computed once.
 */
import type { Engine, Token } from "../engine/engine.ts";
import { type Conversation, type Demonstration, promptText } from "../types/conversation.ts";
import { largest, permitted, type Retriever } from "./retriever.ts";

const k1 = 1.5;
const b = 0.75;
const epsilon = 0.25;

/** Tokenised in portions, so that no message to the engine grows without bound. */
const tokenizePortion = 2_000;

export interface Bm25Index {
  readonly documents: number;
  /** Token → its postings' range in `postings` and `weights`. */
  readonly ranges: ReadonlyMap<Token, readonly [start: number, end: number]>;
  /** Document of each posting. */
  readonly postings: Uint32Array;
  /** idf · tf·(k1 + 1) / (tf + k1·(1 − b + b·length/mean length)) of each posting. */
  readonly weights: Float64Array;
}

/** `documents`: `[documents][tokens]`. */
export function buildBm25Index(documents: readonly (readonly Token[])[]): Bm25Index {
  const frequencies = new Map<Token, Map<number, number>>();
  documents.forEach((tokens, document) => {
    for (const token of tokens) {
      const postings = frequencies.get(token) ?? new Map<number, number>();
      if (postings.size === 0) frequencies.set(token, postings);
      postings.set(document, (postings.get(document) ?? 0) + 1);
    }
  });
  const idf = inverseDocumentFrequencies(frequencies, documents.length);
  const meanLength = documents.reduce((sum, tokens) => sum + tokens.length, 0) / Math.max(1, documents.length);
  const total = [...frequencies.values()].reduce((sum, postings) => sum + postings.size, 0);
  const ranges = new Map<Token, readonly [number, number]>();
  const postings = new Uint32Array(total);
  const weights = new Float64Array(total);
  let next = 0;
  for (const [token, documentFrequencies] of frequencies) {
    const start = next;
    for (const [document, frequency] of documentFrequencies) {
      const length = (documents[document] as readonly Token[]).length;
      postings[next] = document;
      weights[next] = ((idf.get(token) as number) * (frequency * (k1 + 1))) / (frequency + k1 * (1 - b + (b * length) / meanLength));
      next += 1;
    }
    ranges.set(token, [start, next]);
  }
  return { documents: documents.length, ranges, postings, weights };
}

/** `[documents]`: the BM25 score of each for the query. */
export function bm25Scores(index: Bm25Index, query: readonly Token[]): Float64Array {
  const scores = new Float64Array(index.documents);
  for (const token of query) {
    const [start, end] = index.ranges.get(token) ?? [0, 0];
    for (let posting = start; posting < end; posting++) {
      const document = index.postings[posting] as number;
      scores[document] = (scores[document] as number) + (index.weights[posting] as number);
    }
  }
  return scores;
}

function inverseDocumentFrequencies(frequencies: ReadonlyMap<Token, ReadonlyMap<number, number>>, documents: number): Map<Token, number> {
  const idf = new Map<Token, number>();
  for (const [token, postings] of frequencies) idf.set(token, Math.log(documents - postings.size + 0.5) - Math.log(postings.size + 0.5));
  const floor = (epsilon * [...idf.values()].reduce((sum, value) => sum + value, 0)) / Math.max(1, idf.size);
  for (const [token, value] of idf) if (value < 0) idf.set(token, floor);
  return idf;
}

/** `[demonstrations]`: BM25 scores for a prompt. */
export type Bm25Ranking = (prompt: Conversation, signal?: AbortSignal) => Promise<Float64Array>;

/** Stage 1 of the retriever: BM25 over the last `window` tokens (L), by the model's own tokenizer. */
export async function bm25Ranking(demonstrations: readonly Demonstration[], engine: Engine, window: number): Promise<Bm25Ranking> {
  const lastTokens = async (conversations: readonly Conversation[], signal?: AbortSignal): Promise<Token[][]> =>
    (await engine.tokenize(conversations.map(promptText), signal)).map((tokens) => tokens.slice(-window));
  const documents: Token[][] = [];
  for (let start = 0; start < demonstrations.length; start += tokenizePortion)
    documents.push(...(await lastTokens(demonstrations.slice(start, start + tokenizePortion).map(({ messages }) => messages))));
  const index = buildBm25Index(documents);
  return async (prompt, signal) => {
    const [query = []] = await lastTokens([prompt], signal);
    return bm25Scores(index, query);
  };
}

/** Stage 1 alone. */
export async function bm25Retriever(demonstrations: readonly Demonstration[], engine: Engine, window: number): Promise<Retriever> {
  const rank = await bm25Ranking(demonstrations, engine, window);
  return {
    async retrieve(prompt, { shots, except, signal }) {
      const scores = await rank(prompt, signal);
      return largest(scores, shots, permitted(demonstrations, except)).map((index) => ({
        demonstration: demonstrations[index] as Demonstration,
        similarity: scores[index] as number,
      }));
    },
  };
}
