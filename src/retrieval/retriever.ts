/** @module The retriever R of Eq. 12, and what it is built from. */
import type { Conversation, Demonstration } from "../types/conversation.ts";

export interface Retrieved {
  readonly demonstration: Demonstration;
  /** Cosine or BM25 score; null where the retriever measures none. */
  readonly similarity: number | null;
}

export interface RetrievalOptions {
  /** m, how many. */
  readonly shots: number;
  /** Uniform in [0, 1): what chance there is comes from here. */
  readonly random: () => number;
  /** Leaves out demonstrations, as leave-one-out evaluation needs. */
  readonly except?: ReadonlySet<string>;
  /** Whose prompt it is, by an opaque name; absent: there is one tenant only. */
  readonly tenant?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Retriever {
  /** The m demonstrations for a prompt, most similar first; fewer where the set is smaller, or too few are similar. */
  retrieve(prompt: Conversation, options: RetrievalOptions): Promise<Retrieved[]>;
}

/** Sentence embeddings. */
export interface Embedder {
  /** Identifies the model. */
  readonly model: string;
  /**
   * `[texts][dimensions]`, L2-normalised. `tenant`: whose texts they are, by an opaque name; how fast they come tells
   * others nothing of them. Absent: there is one tenant only.
   */
  embed(texts: readonly string[], signal?: AbortSignal, tenant?: string): Promise<Float32Array[]>;
  /**
   * The same for texts that come again and are nobody's secret, demonstrations': what is known of them may be kept for
   * good.
   */
  embedKept(texts: readonly string[], signal?: AbortSignal): Promise<Float32Array[]>;
}

/** Keeps what takes long to compute, by what it was computed from. Losing it costs time, never an answer. */
export interface ArtifactStore {
  get(key: string): Promise<Uint8Array | undefined>;
  put(key: string, bytes: Uint8Array): Promise<void>;
}

export interface CountedEmbedding {
  readonly embedding: Float32Array;
  /** Those that the model reads of the text, its own marks included. */
  readonly tokens: number;
}

/** Names that clients have built in: OpenAI's. */
export const usualEmbeddingNames = ["text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"];

/** An embedding model as clients know it. */
export interface EmbeddingModel extends Embedder {
  readonly name: string;
  /** `[texts]`, otherwise as `embed`. */
  embedCounted(texts: readonly string[], signal?: AbortSignal, tenant?: string): Promise<CountedEmbedding[]>;
}

/**
 * The same model, which is given texts to retrieve by after what it was trained to see before them ("query: "). What
 * clients embed (`embedCounted`) is as they write it.
 */
export function prefixed(model: EmbeddingModel, prefix: string): EmbeddingModel {
  if (prefix === "") return model;
  const begun = (texts: readonly string[]): string[] => texts.map((text) => prefix + text);
  return {
    ...model,
    model: `${model.model}:${JSON.stringify(prefix)}`,
    embed: (texts, signal, tenant) => model.embed(begun(texts), signal, tenant),
    embedKept: (texts, signal) => model.embedKept(begun(texts), signal),
  };
}

/** Indices of the `k` largest values, largest first; ties: the lower index. NaN is less than anything. */
export function largest(
  values: ArrayLike<number>,
  k: number,
  allowed: (index: number) => boolean = () => true,
): number[] {
  const at = (index: number): number => {
    const value = values[index] as number;
    return Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value;
  };
  const best: number[] = [];
  // What a value must exceed once there are k.
  let bound = Number.NaN;
  for (let index = 0; index < values.length; index++) {
    if ((values[index] as number) <= bound || !allowed(index)) continue;
    const value = at(index);
    if (best.length === k && !(value > bound)) continue;
    let place = best.length;
    while (place > 0 && value > at(best[place - 1] as number)) place--;
    best.splice(place, 0, index);
    if (best.length > k) best.pop();
    if (best.length === k) bound = at(best[k - 1] as number);
  }
  return best;
}

/** Whether the demonstration at an index may be retrieved. */
export function permitted(
  demonstrations: readonly Demonstration[],
  except: ReadonlySet<string> | undefined,
): (index: number) => boolean {
  return except === undefined ? () => true : (index) => !except.has(demonstrations[index]?.id ?? "");
}
