/** Embeddings of a thread without a model: what is sent to it, what is kept, and what happens when it ends. */
import { beforeEach, expect, it } from "vitest";
import { loadEmbedder } from "../../../src/retrieval/local-embedder.ts";
import type { EmbeddingModel } from "../../../src/retrieval/retriever.ts";

const module = new URL("./scripted-embedding-thread.mjs", import.meta.url);
const small = { folder: "/models/small", weights: "model.onnx", pooling: "mean" } as const;
/** Two words of 100 characters, and a space behind each. */
const most = 202;

let embedder: EmbeddingModel;
beforeEach(async () => {
  embedder = await loadEmbedder(small, "small@1", module);
});
const one = async (text: string, tenant?: string) => [
  ...((await embedder.embed([text], undefined, tenant))[0] as Float32Array),
];

it("reads no more of a text than the model can", async () => {
  expect((await one("x".repeat(most)))[0]).toBe(most);
  expect((await one("y".repeat(most + 1)))[0]).toBe(most);
  expect((await one(`${"z".repeat(most - 1)}😊`))[0]).toBe(most - 1);
  expect(await embedder.embedCounted(["a b"])).toEqual([{ embedding: Float32Array.of(3, 3), tokens: 2 }]);
});

it("computes a text once, for each tenant, and one that differs where the model does not read it not again", async () => {
  const text = "x".repeat(most);
  expect(await one(text)).toEqual([most, 0]);
  expect(await one(`${text} and so on`)).toEqual([most, 0]);
  expect(await one(text, "alice")).toEqual([most, 1]);
  expect(await one(text, "bob")).toEqual([most, 2]);
  expect(await one(text, "alice")).toEqual([most, 1]);
});

it("is begun anew where its thread has ended, and says what a thread cannot read", async () => {
  await expect(one("die")).rejects.toMatchObject({ code: "engine_unavailable" });
  expect(await one("again")).toEqual([5, 0]);
  await expect(one("unreadable")).rejects.toMatchObject({
    code: "engine_failure",
    message: expect.stringContaining("no such letters"),
  });
  await expect(loadEmbedder(small, "small@1", new URL("./absent.mjs", import.meta.url))).rejects.toThrow("absent.mjs");
});

it("is not waited for by who has left", async () => {
  const leave = new AbortController();
  const asked = embedder.embed(["long ago"], leave.signal);
  leave.abort();
  await expect(asked).rejects.toMatchObject({ code: "cancelled" });
  await expect(embedder.embed(["x"], AbortSignal.abort())).rejects.toMatchObject({ code: "cancelled" });
});
