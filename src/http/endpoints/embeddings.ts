/** @module POST /v1/embeddings: sentence embeddings of the model that retrieves demonstrations. */
import type { Context } from "hono";
import { z } from "zod";
import { checkVectorsSize } from "../../gateway/answer-room.ts";
import { embeddingsDemand } from "../../gateway/demand.ts";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import { requestedRoute } from "../../gateway/route.ts";
import { tenantOf } from "../../gateway/tenant.ts";
import { askerOf, withRequest } from "../../gateway/work.ts";
import type { EmbeddingModel } from "../../retrieval/retriever.ts";
import { floatsToBase64 } from "../../text/bytes.ts";
import { GatewayError } from "../../types/error.ts";
import { modelName, readBody, userName } from "../wire.ts";

const mostTexts = 2_048;
/** Whoever leaves pays for the portions that are done. */
const textsAtOnce = 128;
/** Of all texts together: OpenAI's 300,000 tokens, and more. */
const mostCharacters = 2 ** 21;
const text = z.string().min(1, "must not be empty");

export const embeddingsBodySchema = z.object({
  model: modelName.describe("the embedding model's name, or a route's"),
  input: z
    .union(
      [text, z.array(text).min(1).max(mostTexts)],
      `must be a text or up to ${mostTexts} texts, none of them empty; token ids cannot be read`,
    )
    .refine(
      (input) => textsOf(input).reduce((sum, { length }) => sum + length, 0) <= mostCharacters,
      `must hold at most ${mostCharacters} characters, all texts together`,
    ),
  encoding_format: z.enum(["float", "base64"]).nullish(),
  dimensions: z.int().min(1).nullish(),
  user: userName,
});

export function embeddings(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const body = await readBody(c, embeddingsBodySchema);
    const embedder = await dependencies.embedder();
    if (body.model !== embedder.name) requestedRoute(c, dependencies.policies(), body.model);
    const texts = textsOf(body.input);
    const tenant = tenantOf(c, dependencies, { user: body.user });
    const vectors: Float32Array[] = [];
    let promptTokens = 0;
    await withRequest(askerOf(c), dependencies, embeddingsDemand(texts), async ({ signal, attempt }) => {
      for (let start = 0; start < texts.length; start += textsAtOnce) {
        const portion = texts.slice(start, start + textsAtOnce);
        const count = await attempt(async (tokens) => {
          const embedded = await embedder.embedCounted(portion, signal, tenant);
          vectors.push(...embedded.map(({ embedding }) => embedding));
          tokens.prompt = embedded.reduce((sum, one) => sum + one.tokens, 0);
          return tokens.prompt;
        });
        promptTokens += count;
        c.get("observer").note({ promptTokens });
        if (start > 0) continue;
        const dimensions = vectors[0]?.length ?? 0;
        checkDimensions(embedder, dimensions, body.dimensions ?? undefined);
        if (body.encoding_format !== "base64") checkVectorsSize(texts.length, dimensions);
      }
    });
    return c.json({
      object: "list",
      data: vectors.map((vector, index) => ({
        object: "embedding",
        index,
        embedding: body.encoding_format === "base64" ? floatsToBase64(vector) : [...vector],
      })),
      model: body.model,
      usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
    });
  };
}

function textsOf(input: string | readonly string[]): readonly string[] {
  return typeof input === "string" ? [input] : input;
}

function checkDimensions({ name }: EmbeddingModel, has: number, wanted: number | undefined): void {
  if (wanted !== undefined && wanted !== has)
    throw new GatewayError("invalid_request", `Invalid 'dimensions': embeddings of ${name} have ${has} dimensions.`, {
      param: "dimensions",
    });
}
