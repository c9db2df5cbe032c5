import OpenAI from "openai";
import { describe, expect, it } from "vitest";
import { GatewayError } from "../../../../src/types/error.ts";
import { gateway, json } from "../../scripted-gateway.ts";

describe("POST /v1/embeddings", () => {
  const ask = { model: "scripted-embeddings", input: ["two words", "tea"] };

  it("answers in OpenAI's shape", async () => {
    const { post } = await gateway();
    expect(await json(await post("/v1/embeddings", ask))).toEqual({
      object: "list",
      data: [
        { object: "embedding", index: 0, embedding: [9, 0.5] },
        { object: "embedding", index: 1, embedding: [3, 0.5] },
      ],
      model: "scripted-embeddings",
      usage: { prompt_tokens: 3, total_tokens: 3 },
    });
  });

  it("gives the official client, which asks for base64, the same numbers", async () => {
    const { app } = await gateway();
    const client = new OpenAI({
      baseURL: "http://localhost/v1",
      apiKey: "none",
      fetch: async (url, init) => app.request(String(url), init as RequestInit),
    });
    const { data } = await client.embeddings.create({ ...ask, input: "two words" });
    expect(data[0]?.embedding).toEqual([9, 0.5]);
  });

  it("takes the name of a route or an alias for its model, and no other", async () => {
    const { post } = await gateway();
    for (const model of ["icdpo", "gpt-4o-mini"])
      expect((await post("/v1/embeddings", { ...ask, model })).status).toBe(200);
    const response = await post("/v1/embeddings", { ...ask, model: "text-embedding-4" });
    expect(response.status).toBe(404);
    expect((await json(response)).error.code).toBe("model_not_found");
  });

  it("takes the names that clients have built in, and says the client's own again", async () => {
    const { post } = await gateway();
    const answer = await json(await post("/v1/embeddings", { ...ask, model: "text-embedding-3-small" }));
    expect(answer).toMatchObject({ model: "text-embedding-3-small", data: [{ embedding: [9, 0.5] }, {}] });
  });

  it("embeds an empty text, too", async () => {
    const { post } = await gateway();
    for (const input of ["", ["", "tea"]])
      expect((await json(await post("/v1/embeddings", { ...ask, input }))).data[0].embedding).toEqual([0, 0.5]);
  });

  it.each([{ input_type: "query" }, { truncate: "END" }, { normalize: true }, { dimensions: 2 }, { truncate: null }])(
    "takes %j, which asks for what is done anyway",
    async (fields) => {
      const { post } = await gateway();
      expect((await post("/v1/embeddings", { ...ask, ...fields })).status).toBe(200);
    },
  );

  it("names the client's setting that avoids another model's token ids", async () => {
    const { post } = await gateway();
    for (const input of [[[1, 2, 3]], [1, 2]]) {
      const { error } = await json(await post("/v1/embeddings", { ...ask, input }));
      expect(error.message).toContain("check_embedding_ctx_length=False");
    }
  });

  it.each([
    ["input", { input: [] }],
    ["input_type", { input_type: "image" }],
    ["truncate", { truncate: "NONE" }],
    ["truncate_prompt_tokens", { truncate_prompt_tokens: 5 }],
    ["normalize", { normalize: false }],
    ["embedding_types", { embedding_types: ["int8"] }],
    ["messages", { messages: [] }],
    ["input", { input: [1, 2, 3] }],
    ["input", { input: Array.from({ length: 2_049 }, () => "a") }],
    ["dimensions", { dimensions: 3 }],
    ["encoding_format", { encoding_format: "hex" }],
  ])("refuses a wrong %s", async (param, body) => {
    const { post } = await gateway();
    const response = await post("/v1/embeddings", { ...ask, ...body });
    expect(response.status).toBe(400);
    expect((await json(response)).error.param).toBe(param);
  });

  it("says so where the model cannot be had", async () => {
    const { post } = await gateway(
      {},
      { embedder: () => Promise.reject(new GatewayError("model_unavailable", "It could not be fetched.")) },
    );
    expect((await post("/v1/embeddings", ask)).status).toBe(503);
  });
});
