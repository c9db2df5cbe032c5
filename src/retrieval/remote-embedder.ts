/** @module Sentence embeddings of a server, by OpenAI's POST /v1/embeddings. */
import { z } from "zod";
import type { RemoteSettings, RemoteWorld } from "../engine/engines.ts";
import { RemoteServer } from "../engine/remote.ts";
import { GatewayError } from "../types/error.ts";
import type { EmbeddingModel } from "./retriever.ts";

/** Embeddings kept for good, by text: for texts that are nobody's secret. Losing them costs time, never an answer. */
export interface KeptEmbeddings {
  /** `[texts]`: what is known of each. */
  get(model: string, texts: readonly string[]): Promise<(Float32Array | undefined)[]>;
  put(model: string, embeddings: ReadonlyMap<string, Float32Array>): Promise<void>;
}

const textsAtOnce = 128;
/** Texts whose token counts are remembered: those of calls under way. */
const mostCounts = 10_000;

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
  const counts = new Map<string, number>();
  const embedPortion = async (texts: readonly string[], signal: AbortSignal | undefined): Promise<Float32Array[]> => {
    const body = { model: settings.model, input: texts, encoding_format: "float" };
    const { data, usage } = await server.json({ path: "/v1/embeddings", body, answer: answerSchema, signal });
    share(counts, texts, usage?.prompt_tokens);
    const places = new Map(data.map(({ index, embedding }) => [index, embedding]));
    return texts.map((_, index) => normalised(places.get(index) ?? missing(server.name)));
  };
  const embed = async (texts: readonly string[], signal?: AbortSignal): Promise<Float32Array[]> => {
    const embeddings: Float32Array[] = [];
    for (let start = 0; start < texts.length; start += textsAtOnce)
      embeddings.push(...(await embedPortion(texts.slice(start, start + textsAtOnce), signal)));
    return embeddings;
  };
  return {
    model,
    name: settings.model,
    countTokens: (text) => counts.get(text) ?? estimate(text),
    embed,
    async embedKept(texts, signal) {
      const known = new Map(((await kept?.get(model, texts)) ?? []).map((embedding, i) => [texts[i] as string, embedding]));
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

/** Servers count a call's tokens, not each text's: the sum is theirs, each text's share by its length. */
function share(counts: Map<string, number>, texts: readonly string[], total: number | undefined): void {
  if (counts.size + texts.length > mostCounts) counts.clear();
  const characters = texts.reduce((sum, text) => sum + text.length, 0) || 1;
  let [seen, given] = [0, 0];
  for (const text of texts) {
    seen += text.length;
    const upToHere = total === undefined ? given + estimate(text) : Math.round((total * seen) / characters);
    counts.set(text, upToHere - given);
    given = upToHere;
  }
}

/** English has about four characters a token. */
function estimate(text: string): number {
  return Math.ceil(text.length / 4);
}
