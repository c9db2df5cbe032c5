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
import { readBody } from "../json-body.ts";
import { modelName, refuse, userName } from "../wire.ts";

const mostTexts = 2_048;
/** Whoever leaves pays for the portions that are done. */
const textsAtOnce = 128;
/** Of all texts together: OpenAI's 300,000 tokens, and more. */
const mostCharacters = 2 ** 21;

/** What other servers take: it asks for what is done anyway, or has no effect here. */
const refusals = {
  truncate: {
    reason: "the beginning of each text is embedded, as far as the model reads",
    harmless: ["END", "end", "RIGHT", true],
  },
  truncate_prompt_tokens: { reason: "the model's own window says how much it reads", harmless: [-1] },
  normalize: { reason: "embeddings have the length 1", harmless: [true] },
  normalized: { reason: "embeddings have the length 1", harmless: [true] },
  output_dimension: { reason: "use dimensions", harmless: [] },
  output_dtype: { reason: "use encoding_format", harmless: ["float"] },
  embedding_type: { reason: "use encoding_format", harmless: ["float"] },
  embedding_types: { reason: "use encoding_format", harmless: [["float"]] },
  late_chunking: { reason: "each text is embedded by itself", harmless: [false] },
  add_special_tokens: { reason: "texts are read with the model's own marks", harmless: [true] },
  messages: { reason: "texts are embedded, not conversations: use input", harmless: [] },
  images: { reason: "the model reads text only", harmless: [[]] },
};

export const embeddingsBodySchema = z
  .looseObject({
    model: modelName.describe("the embedding model's name, one of ICDPO_EMBEDDING_ALIASES, or a route's"),
    input: z
      .union(
        [z.string(), z.array(z.string()).min(1).max(mostTexts)],
        `must be a text or up to ${mostTexts} texts. Token ids are another model's and cannot be read: have the client send text (LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))`,
      )
      .refine(
        (input) => textsOf(input).reduce((sum, { length }) => sum + length, 0) <= mostCharacters,
        `must hold at most ${mostCharacters} characters, all texts together`,
      ),
    encoding_format: z.enum(["float", "base64"]).nullish(),
    dimensions: z.int().min(1).nullish(),
    input_type: z
      .enum(["query", "passage", "document", "search_query", "search_document"])
      .nullish()
      .describe("queries and documents are embedded alike"),
    user: userName,
  })
  .superRefine((body, context) => refuse(body, refusals, context));

export function embeddings(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const body = await readBody(c, embeddingsBodySchema);
    const embedder = await dependencies.embedder();
    const isKnown = body.model === embedder.name || dependencies.embeddingAliases.has(body.model);
    if (!isKnown) requestedRoute(c, dependencies.policies(), body.model);
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
