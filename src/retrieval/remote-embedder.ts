/** @module Sentence embeddings of a server, by OpenAI's POST /v1/embeddings. */
import { z } from "zod";
import { embeddedAnswer } from "../client/answer-size.ts";
import type { RemoteSettings, RemoteWorld } from "../engine/engines.ts";
import { RemoteServer } from "../engine/server/remote.ts";
import { GatewayError } from "../types/error.ts";
import type { CountedEmbedding, EmbeddingModel } from "./retriever.ts";

/** Embeddings kept for good, by text: for texts that are nobody's secret. Losing them costs time, never an answer. */
export interface KeptEmbeddings {
  /** `[texts]`: what is known of each. */
  get(model: string, texts: readonly string[]): Promise<(Float32Array | undefined)[]>;
  put(model: string, embeddings: ReadonlyMap<string, Float32Array>): Promise<void>;
}

const textsAtOnce = 128;

const answerSchema = z.object({
  data: z.array(z.object({ index: z.int().min(0), embedding: z.array(z.number()).min(1) })),
  usage: z.object({ prompt_tokens: z.number().min(0) }).nullish(),
});

/** `settings.model` is needed: servers differ in what they take without one. */
export function remoteEmbedder(
  settings: RemoteSettings & { readonly model: string },
  world: RemoteWorld,
  kept?: KeptEmbeddings,
): EmbeddingModel {
  const [url = ""] = settings.urls;
  const server = new RemoteServer(url, settings, world);
  const model = `${settings.model}@${server.name}`;
  const embedPortion = async (
    texts: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<CountedEmbedding[]> => {
    // Servers refuse an empty text.
    const input = texts.map((text) => (text === "" ? " " : text));
    const body = { model: settings.model, input, encoding_format: "float" };
    const size = embeddedAnswer(texts.length);
    const { data, usage } = await server.json({ path: "/v1/embeddings", body, answer: answerSchema, size, signal });
    const counts = share(texts, usage?.prompt_tokens);
    const places = new Map(data.map(({ index, embedding }) => [index, embedding]));
    return texts.map((_, index) => ({
      embedding: normalised(places.get(index) ?? missing(server.name)),
      tokens: counts[index] as number,
    }));
  };
  const embedCounted = async (texts: readonly string[], signal?: AbortSignal): Promise<CountedEmbedding[]> => {
    const embeddings: CountedEmbedding[] = [];
    for (let start = 0; start < texts.length; start += textsAtOnce)
      embeddings.push(...(await embedPortion(texts.slice(start, start + textsAtOnce), signal)));
    return embeddings;
  };
  const embed = async (texts: readonly string[], signal?: AbortSignal): Promise<Float32Array[]> =>
    (await embedCounted(texts, signal)).map(({ embedding }) => embedding);
  return {
    model,
    name: settings.model,
    embed,
    embedCounted,
    async embedKept(texts, signal) {
      const known = new Map(
        ((await kept?.get(model, texts)) ?? []).map((embedding, i) => [texts[i] as string, embedding]),
      );
      const fresh = [...new Set(texts.filter((text) => known.get(text) === undefined))];
      const made = new Map((await embed(fresh, signal)).map((embedding, i) => [fresh[i] as string, embedding]));
      if (made.size > 0) await kept?.put(model, made);
      return texts.map((text) => (known.get(text) ?? made.get(text)) as Float32Array);
    },
  };
}

function missing(server: string): never {
  throw new GatewayError("engine_failure", `The server at ${server} left embeddings out.`);
}

function normalised(embedding: readonly number[]): Float32Array {
  const length = Math.hypot(...embedding) || 1;
  return Float32Array.from(embedding, (value) => value / length);
}

/**
 * `[texts]`, in tokens. Servers count a call's, not each text's: the sum is theirs, each text's share by its length.
 */
function share(texts: readonly string[], total: number | undefined): number[] {
  const characters = texts.reduce((sum, text) => sum + text.length, 0) || 1;
  let [seen, given] = [0, 0];
  return texts.map((text) => {
    seen += text.length;
    const before = given;
    given = total === undefined ? given + estimate(text) : Math.round((total * seen) / characters);
    return given - before;
  });
}

/** English has about four characters a token. */
function estimate(text: string): number {
  return Math.ceil(text.length / 4);
}
