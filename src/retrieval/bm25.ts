/**
 * @module BM25 as in `rank_bm25`'s BM25Okapi: k1 = 1.5, b = 0.75, idf = ln(N − df + 0.5) − ln(df + 0.5), a negative idf
 * replaced by 0.25 × the mean idf; query tokens count as often as they stand. An inverted index in typed arrays, with
 * each posting's weight computed once.
 */
import { pause } from "../async/pause.ts";
import { usualLongestToken } from "../engine/characters.ts";
import type { Engine, Token } from "../engine/engine.ts";
import type { Conversation, Demonstration } from "../types/conversation.ts";
import { saidText, type TurnStyle } from "./question.ts";
import { type ArtifactStore, largest, permitted, type Retriever } from "./retriever.ts";

const k1 = 1.5;
const b = 0.75;
const epsilon = 0.25;

/** Tokenised in portions, so that no message to the engine grows without bound. */
const tokenizePortion = 2_000;
/** While an index is built, the work between two pauses. */
const documentsAtOnce = 2_000;
const postingsAtOnce = 50_000;
/** Of a sum of floats: half the distance between two neighbouring ones, relative to the greater. */
const floatError = 2 ** -24;

export interface Bm25Index {
  readonly documents: number;
  /** `[tokens]`, with its postings from `starts[i]` to `starts[i + 1]` in `postings` and `weights`. */
  readonly tokens: Uint32Array;
  readonly starts: Uint32Array;
  /** Token → its place in `tokens`. */
  readonly places: ReadonlyMap<Token, number>;
  /** Document of each posting, ascending within a token. */
  readonly postings: Uint32Array;
  /** idf · tf·(k1 + 1) / (tf + k1·(1 − b + b·length/mean length)) of each posting. */
  readonly weights: Float64Array;
  /** The same to six digits: half the memory to go through. */
  readonly roughWeights: Float32Array;
  /** `[documents]`, to add up in: fresh memory costs more than the additions. */
  readonly sums: Float32Array;
}

/** `documents`: `[documents][tokens]`. */
export function buildBm25Index(documents: readonly (readonly Token[])[]): Bm25Index {
  const building = bm25Building(documents);
  for (;;) {
    const step = building.next();
    if (step.done) return step.value;
  }
}

/** The same in steps of a few milliseconds, so that others can have a turn between them. */
function* bm25Building(documents: readonly (readonly Token[])[]): Generator<void, Bm25Index> {
  const frequencies = new Map<Token, Map<number, number>>();
  for (const [document, tokens] of documents.entries()) {
    if (document % documentsAtOnce === documentsAtOnce - 1) yield;
    for (const token of tokens) {
      const postings = frequencies.get(token) ?? new Map<number, number>();
      if (postings.size === 0) frequencies.set(token, postings);
      postings.set(document, (postings.get(document) ?? 0) + 1);
    }
  }
  const idf = inverseDocumentFrequencies(frequencies, documents.length);
  const meanLength = documents.reduce((sum, tokens) => sum + tokens.length, 0) / Math.max(1, documents.length);
  const total = [...frequencies.values()].reduce((sum, postings) => sum + postings.size, 0);
  const starts = new Uint32Array(frequencies.size + 1);
  const postings = new Uint32Array(total);
  const weights = new Float64Array(total);
  let [next, place] = [0, 0];
  let last = 0;
  for (const [token, documentFrequencies] of frequencies) {
    if (next - last > postingsAtOnce) {
      last = next;
      yield;
    }
    for (const [document, frequency] of documentFrequencies) {
      const length = (documents[document] as readonly Token[]).length;
      postings[next] = document;
      weights[next] =
        ((idf.get(token) as number) * (frequency * (k1 + 1))) / (frequency + k1 * (1 - b + (b * length) / meanLength));
      next += 1;
    }
    place += 1;
    starts[place] = next;
  }
  return indexOf(documents.length, Uint32Array.from(frequencies.keys()), starts, postings, weights);
}

/** What follows from an index's stored parts. */
function indexOf(
  documents: number,
  tokens: Uint32Array,
  starts: Uint32Array,
  postings: Uint32Array,
  weights: Float64Array,
): Bm25Index {
  const places = new Map([...tokens].map((token, place) => [token, place]));
  return {
    documents,
    tokens,
    starts,
    places,
    postings,
    weights,
    roughWeights: Float32Array.from(weights),
    sums: new Float32Array(documents),
  };
}

/** `[documents]`: the BM25 score of each for the query. */
export function bm25Scores(
  { documents, places, starts, postings, weights }: Bm25Index,
  query: readonly Token[],
): Float64Array {
  const scores = new Float64Array(documents);
  for (const token of query) {
    const place = places.get(token);
    if (place === undefined) continue;
    for (let posting = starts[place] as number; posting < (starts[place + 1] as number); posting++) {
      const document = postings[posting] as number;
      scores[document] = (scores[document] as number) + (weights[posting] as number);
    }
  }
  return scores;
}

export interface Ranked {
  readonly index: number;
  readonly score: number;
}

/**
 * The `k` best documents, best first, ties to the lower index: the same as sorting `bm25Scores`, found by sums in
 * single precision and summed again.
 */
export function bm25Best(
  index: Bm25Index,
  query: readonly Token[],
  k: number,
  allowed?: (document: number) => boolean,
): Ranked[] {
  const rough = roughScores(index, query);
  const best = largest(rough, k, allowed);
  const [greatest, least] = [rough[best[0] ?? 0] ?? 0, rough[best.at(-1) ?? 0] ?? 0];
  // Each addition rounds, and both of two documents may be off.
  const bound = least - 4 * (query.length + 1) * floatError * Math.abs(greatest);
  const candidates = atLeast(rough, bound).filter((document) => allowed?.(document) ?? true);
  const exact = candidates.map((document) => scoreOf(index, query, document));
  return largest(exact, k).map((place) => ({ index: candidates[place] as number, score: exact[place] as number }));
}

function roughScores(
  { sums, places, starts, postings, roughWeights }: Bm25Index,
  query: readonly Token[],
): Float32Array {
  sums.fill(0);
  const counts = new Map<number, number>();
  for (const token of query) {
    const place = places.get(token);
    if (place !== undefined) counts.set(place, (counts.get(place) ?? 0) + 1);
  }
  for (const [place, count] of counts)
    addPostings(sums, postings, roughWeights, count, starts[place] as number, starts[place + 1] as number);
  return sums;
}

function atLeast(scores: Float32Array, bound: number): number[] {
  const documents: number[] = [];
  for (let document = 0; document < scores.length; document++)
    if ((scores[document] as number) >= bound) documents.push(document);
  return documents;
}

function addPostings(
  scores: Float32Array,
  postings: Uint32Array,
  weights: Float32Array,
  count: number,
  start: number,
  end: number,
): void {
  for (let posting = start; posting < end; posting++) {
    const document = postings[posting] as number;
    scores[document] = (scores[document] as number) + count * (weights[posting] as number);
  }
}

/** One document's score: the same additions in the same order as `bm25Scores`. */
function scoreOf({ places, starts, postings, weights }: Bm25Index, query: readonly Token[], document: number): number {
  let score = 0;
  for (const token of query) {
    const place = places.get(token);
    if (place === undefined) continue;
    let [low, high] = [starts[place] as number, starts[place + 1] as number];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((postings[middle] as number) < document) low = middle + 1;
      else high = middle;
    }
    if (low < (starts[place + 1] as number) && postings[low] === document) score += weights[low] as number;
  }
  return score;
}

function inverseDocumentFrequencies(
  frequencies: ReadonlyMap<Token, ReadonlyMap<number, number>>,
  documents: number,
): Map<Token, number> {
  const idf = new Map<Token, number>();
  for (const [token, postings] of frequencies)
    idf.set(token, Math.log(documents - postings.size + 0.5) - Math.log(postings.size + 0.5));
  const floor = (epsilon * [...idf.values()].reduce((sum, value) => sum + value, 0)) / Math.max(1, idf.size);
  for (const [token, value] of idf) if (value < 0) idf.set(token, floor);
  return idf;
}

/** The `k` best demonstrations for a prompt, best first. */
export type Bm25Ranking = (
  prompt: Conversation,
  k: number,
  allowed?: (index: number) => boolean,
  signal?: AbortSignal,
) => Promise<Ranked[]>;

export interface Bm25Source {
  readonly engine: Engine;
  /** Where the index is kept; absent: nowhere. */
  readonly artifacts?: ArtifactStore | undefined;
  /** What the demonstrations and the tokenizer are: the same, the same index. */
  readonly source: string;
  /** Absent: lines. */
  readonly style?: TurnStyle | undefined;
}

/** Stage 1 of the retriever: BM25 over the last `window` tokens (L), by the model's own tokenizer. */
export async function bm25Ranking(
  demonstrations: readonly Demonstration[],
  { engine, artifacts, source, style = "lines" }: Bm25Source,
  window: number,
): Promise<Bm25Ranking> {
  const lastTokens = async (conversations: readonly Conversation[], signal?: AbortSignal): Promise<Token[][]> =>
    (
      await engine.tokenize(
        conversations.map((conversation) => endOf(saidText(conversation, style), window)),
        signal,
      )
    ).map((tokens) => tokens.slice(-window));
  const key = JSON.stringify(["bm25", indexFormat, source, window, style]);
  const stored = await artifacts?.get(key);
  const index = (stored && readIndex(stored, demonstrations.length)) ?? (await build());
  return async (prompt, k, allowed, signal) => {
    const [query = []] = await lastTokens([prompt], signal);
    return bm25Best(index, query, k, allowed);
  };

  async function build(): Promise<Bm25Index> {
    const documents: Token[][] = [];
    for (let start = 0; start < demonstrations.length; start += tokenizePortion)
      documents.push(
        ...(await lastTokens(demonstrations.slice(start, start + tokenizePortion).map(({ messages }) => messages))),
      );
    const building = bm25Building(documents);
    let step = building.next();
    for (; !step.done; step = building.next()) await pause(0);
    const built = step.value;
    await artifacts?.put(key, writeIndex(built));
    return built;
  }
}

/** Where a text is cut, its first tokens may be others than in the whole of it; after so many they are the same. */
const unsettledTokens = 32;

/** As much of a text's end as holds its last `window` tokens. */
function endOf(text: string, window: number): string {
  const end = text.slice(-(window + unsettledTokens) * usualLongestToken);
  // Not the second half of a character.
  return /^[\uDC00-\uDFFF]/u.test(end) ? end.slice(1) : end;
}

const indexFormat = 1;
const headerBytes = 16;

/** Counts (documents, tokens, postings), then weights, tokens, starts and postings. */
function writeIndex({ documents, tokens, starts, postings, weights }: Bm25Index): Uint8Array {
  const parts = [Uint32Array.of(documents, tokens.length, postings.length, 0), weights, tokens, starts, postings];
  const bytes = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), offset);
    offset += part.byteLength;
  }
  return bytes;
}

/** Null where the bytes are not an index of so many documents. */
function readIndex(bytes: Uint8Array, documents: number): Bm25Index | null {
  // Typed arrays need their alignment.
  const { buffer } = bytes.byteOffset % 8 === 0 ? bytes : Uint8Array.from(bytes);
  const from = bytes.byteOffset % 8 === 0 ? bytes.byteOffset : 0;
  if (bytes.byteLength < headerBytes) return null;
  const [count = 0, tokens = 0, postings = 0] = new Uint32Array(buffer, from, 4);
  if (count !== documents || bytes.byteLength !== headerBytes + postings * 12 + tokens * 8 + 4) return null;
  const weightsAt = from + headerBytes;
  const tokensAt = weightsAt + postings * 8;
  const startsAt = tokensAt + tokens * 4;
  const starts = new Uint32Array(buffer, startsAt, tokens + 1);
  const list = new Uint32Array(buffer, startsAt + (tokens + 1) * 4, postings);
  const weights = new Float64Array(buffer, weightsAt, postings);
  if (!isSound(documents, starts, list, weights)) return null;
  return indexOf(documents, new Uint32Array(buffer, tokensAt, tokens), starts, list, weights);
}

/**
 * Whether every posting is one of some token, ascending, and of some document: whoever searches goes nowhere else,
 * however the bytes came about.
 */
function isSound(documents: number, starts: Uint32Array, postings: Uint32Array, weights: Float64Array): boolean {
  if (starts[0] !== 0 || starts.at(-1) !== postings.length) return false;
  for (let token = 1; token < starts.length; token++)
    if ((starts[token] as number) < (starts[token - 1] as number)) return false;
  for (let token = 1; token < starts.length; token++) {
    let last = -1;
    for (let posting = starts[token - 1] as number; posting < (starts[token] as number); posting++) {
      const document = postings[posting] as number;
      if (document <= last || document >= documents || !Number.isFinite(weights[posting])) return false;
      last = document;
    }
  }
  return true;
}

/** Stage 1 alone. */
export async function bm25Retriever(
  demonstrations: readonly Demonstration[],
  source: Bm25Source,
  window: number,
): Promise<Retriever> {
  const rank = await bm25Ranking(demonstrations, source, window);
  return {
    async retrieve(prompt, { shots, except, signal }) {
      const best = await rank(prompt, shots, permitted(demonstrations, except), signal);
      return best.map(({ index, score }) => ({
        demonstration: demonstrations[index] as Demonstration,
        similarity: score,
      }));
    },
  };
}
