/** @module Sentence embeddings, computed in a thread of their own; those of texts that come again are kept. */
import { createHash } from "node:crypto";
import path from "node:path";
import { Worker } from "node:worker_threads";
import { LRUCache } from "lru-cache";
import { untilAborted } from "../async/until-aborted.ts";
import { cancelled, GatewayError } from "../types/error.ts";
import type { FromThread, ThreadOptions, ToThread } from "./embedding-thread.ts";
import type { CountedEmbedding, EmbeddingModel } from "./retriever.ts";

/** Of embeddings that are kept: what several policies share, and prompts that come again. */
const keptBytes = 4_000_000;
/** An entry's own, beside its embedding. */
const entryBytes = 200;
/**
 * Tokenizers take a longer word for one that they do not know, whatever follows it; and there is a space before the
 * next.
 */
const longestWord = 100;

/** Loads the model; `model` identifies it. `module`: the thread's, if elsewhere. */
export async function loadEmbedder(
  options: ThreadOptions,
  model: string,
  module = new URL("./embedding-thread.js", import.meta.url),
): Promise<EmbeddingModel> {
  const thread = new EmbeddingThread(options, module);
  const { window } = await thread.begun();
  const mostCharacters = window * (longestWord + 1);
  const kept = new LRUCache<string, CountedEmbedding>({
    maxSize: keptBytes,
    sizeCalculation: ({ embedding }) => embedding.byteLength + entryBytes,
  });
  const embedCounted = async (
    texts: readonly string[],
    signal?: AbortSignal,
    tenant = "",
  ): Promise<CountedEmbedding[]> => {
    const embeddings: CountedEmbedding[] = [];
    for (const text of texts) {
      if (signal?.aborted) throw cancelled(signal);
      const read = beginningOf(text, mostCharacters);
      const key = createHash("sha256").update(`${tenant}\0`).update(read).digest("base64");
      const embedded = kept.get(key) ?? (await untilAborted(thread.embed(read), signal));
      kept.set(key, embedded);
      embeddings.push(embedded);
    }
    return embeddings;
  };
  const embed: EmbeddingModel["embed"] = async (texts, signal, tenant) =>
    (await embedCounted(texts, signal, tenant)).map(({ embedding }) => embedding);
  return {
    model,
    name: path.basename(options.folder),
    embed,
    embedCounted,
    embedKept: (texts, signal) => embed(texts, signal),
  };
}

/** The model reads no more of a text. */
function beginningOf(text: string, most: number): string {
  const beginning = text.slice(0, most);
  // Not the first half of a character.
  return beginning.length < text.length && /[\uD800-\uDBFF]$/u.test(beginning) ? beginning.slice(0, -1) : beginning;
}

interface Waiting {
  readonly resolve: (embedded: CountedEmbedding) => void;
  readonly reject: (error: unknown) => void;
}

/** The thread; one that has ended is begun anew by the next text. */
class EmbeddingThread {
  readonly #options: ThreadOptions;
  readonly #module: URL;
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;
  #worker: Worker | undefined;
  #begun: Promise<{ readonly window: number }> | undefined;

  constructor(options: ThreadOptions, module: URL) {
    this.#options = options;
    this.#module = module;
  }

  /** Resolves when the model is loaded. Throws what is in the way; the next call tries again. */
  begun(): Promise<{ readonly window: number }> {
    this.#begun ??= this.#begin();
    return this.#begun;
  }

  /** Throws "engine_unavailable" where the thread ends, "engine_failure" where it cannot read the text. */
  async embed(text: string): Promise<CountedEmbedding> {
    await this.begun();
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      // A program that waits for nothing else ends, and the thread with it.
      this.#worker?.ref();
      this.#worker?.postMessage({ id, text } satisfies ToThread);
    });
  }

  #begin(): Promise<{ readonly window: number }> {
    const worker = new Worker(this.#module, { workerData: this.#options });
    this.#worker = worker;
    return new Promise((resolve, reject) => {
      let cause: unknown;
      worker.on("message", (message: FromThread) => {
        if (message.type === "ready") {
          worker.unref();
          resolve(message);
        } else this.#take(message);
      });
      worker.on("error", (error) => {
        cause = error;
      });
      worker.on("exit", () => {
        this.#begun = undefined;
        reject(cause ?? ended(cause));
        for (const { reject: fail } of this.#waiting.values()) fail(ended(cause));
        this.#waiting.clear();
      });
    });
  }

  #take(message: Exclude<FromThread, { type: "ready" }>): void {
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (this.#waiting.size === 0) this.#worker?.unref();
    if (message.type === "embedding") waiting?.resolve({ embedding: message.embedding, tokens: message.tokens });
    else
      waiting?.reject(new GatewayError("engine_failure", `The embedding model cannot read a text: ${message.reason}`));
  }
}

function ended(cause: unknown): GatewayError {
  return new GatewayError(
    "engine_unavailable",
    "The embedding model's thread ended; it is begun anew. Retry the request.",
    { cause },
  );
}
