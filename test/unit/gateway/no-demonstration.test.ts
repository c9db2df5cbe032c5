/** Requests that no demonstration is similar enough to: answered plainly, and said so. */
import { describe, expect, it } from "vitest";
import type { RequestRecord } from "../../../src/gateway/observation.ts";
import type { EmbeddingModel } from "../../../src/retrieval/retriever.ts";
import { createTelemetry } from "../../../src/telemetry/telemetry.ts";
import { gateway, json, readStream } from "../scripted-gateway.ts";

/** Brewing, weather, and everything else. */
const direction = (text: string): Float32Array =>
  Float32Array.from(/brew/u.test(text) ? [1, 0, 0] : /rain/u.test(text) ? [0.6, 0.8, 0] : [0, 0, 1]);
const embed = async (texts: readonly string[]) => texts.map(direction);
const embedder: EmbeddingModel = {
  model: "topics@1",
  name: "topics",
  embed,
  embedKept: embed,
  embedCounted: async (texts) => texts.map((text) => ({ embedding: direction(text), tokens: 1 })),
};
const near = (least: number, more = "") => ({
  near: `demonstrations: set\nretriever: { type: embedding, min_similarity: ${least} }\nscore: { type: contrast, negative: rejected }\n${more}`,
});
const code = [{ role: "user", content: "Write a red-black tree." }];

async function opened(policies: Record<string, string>) {
  const records: RequestRecord[] = [];
  const telemetry = createTelemetry({
    recorders: [{ record: (record) => records.push(record) }],
    metrics: async () => ({ contentType: "text/plain", body: "" }),
    now: () => 0,
    onFailure: () => {},
  });
  const opened = await gateway({}, { embedder: async () => embedder, telemetry }, policies);
  const sampled = () => {
    const call = opened.engine.calls.find(({ type }) => type === "sample");
    if (call?.type !== "sample") throw new Error("Nothing was sampled");
    return call;
  };
  return { ...opened, records, sampled };
}

describe("a request that no demonstration is similar enough to", () => {
  it("is answered by one plain sample, which its headers, explanation and record say", async () => {
    const { chat, engine, records, sampled } = await opened(near(0.7));
    const response = await chat({ model: "near", messages: code, icdpo: { explain: true } });
    expect(response.headers.get("x-icdpo-candidates")).toBe("1");
    expect(response.headers.has("x-icdpo-score")).toBe(false);
    const { choices, icdpo } = await json(response);
    expect(choices[0].message.content).toBe("Candidate number 0.");
    expect(icdpo).toMatchObject({ fallback: "no-demonstration", demonstrations: [], candidates: [{ index: 0 }] });
    expect(engine.calls.map(({ type }) => type)).toEqual(["sample"]);
    expect(sampled().context).toBe("<user>Write a red-black tree.</user><assistant>");
    expect(records).toEqual([expect.objectContaining({ candidates: 1, fallback: "no-demonstration" })]);
    expect(records[0]).not.toHaveProperty("score");
  });

  it("keeps the policy's sampling, and gives as many answers as are asked for", async () => {
    const { chat, sampled } = await opened(near(0.7, "sampling: { temperature: 0.4, max_tokens: 9 }\n"));
    const { choices } = await json(await chat({ model: "near", messages: code, n: 2 }));
    expect(choices).toHaveLength(2);
    expect(sampled().request).toMatchObject({ temperature: 0.4, maxTokens: 9 });
  });

  it("is streamed as it is sampled, like a plain route's", async () => {
    const { chat, sampled } = await opened(near(0.7));
    const response = await chat({ model: "near", messages: code, stream: true });
    expect(response.headers.get("x-icdpo-candidates")).toBe("1");
    const { chunks } = await readStream(response);
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("")).toBe("Candidate number 0.");
    expect(sampled().request.whole).toBe(false);
  });

  it("is answered plainly where the policy chooses in blocks", async () => {
    const { chat, engine } = await opened(near(0.7, "block: { tokens: 4 }\n"));
    const { icdpo } = await json(await chat({ model: "near", messages: code, icdpo: { explain: true } }));
    expect(icdpo.fallback).toBe("no-demonstration");
    expect(engine.calls.map(({ type }) => type)).toEqual(["sample"]);
  });

  it.each([{}, { demonstrations: [] }])("has no scores but those after the bare messages: %j", async (given) => {
    const { post } = await opened(near(0.7));
    const asked = { model: "near", messages: code, completions: ["One.", "Two."], ...given };
    const body = await json(await post("/v1/score", asked));
    expect(body).toMatchObject({ chosen: null, fallback: "no-demonstration" });
    for (const one of body.data) {
      expect(one).toMatchObject({ positive: null, negative: null, s: null, s_hat: null });
      expect(one.base).toBeLessThan(0);
    }
  });

  it("is scored by demonstrations that it brings", async () => {
    const { post } = await opened(near(0.7));
    const demonstrations = [{ messages: code, chosen: "Here.", rejected: "Who cares." }];
    const body = await json(
      await post("/v1/score", { model: "near", messages: code, completions: ["One."], demonstrations }),
    );
    expect(body).not.toHaveProperty("fallback");
    expect(body.data[0].s_hat).not.toBeNull();
  });
});

describe("a request that some demonstrations are similar enough to", () => {
  it("is shown those alone", async () => {
    const { chat, engine } = await opened(near(0.7));
    const response = await chat({ model: "near", icdpo: { explain: true } });
    expect(response.headers.get("x-icdpo-candidates")).toBe("3");
    const { icdpo } = await json(response);
    expect(icdpo).toMatchObject({ fallback: null, demonstrations: [{ id: "tea", similarity: 1 }] });
    expect(engine.calls.map(({ type }) => type)).toEqual(["sample", "score"]);
  });

  it("is shown what is just similar enough", async () => {
    const { chat } = await opened(near(0.5));
    const { icdpo } = await json(await chat({ model: "near", icdpo: { explain: true } }));
    expect(icdpo.demonstrations.map(({ id }: { id: string }) => id)).toEqual(["tea", "rain"]);
  });

  it("is chosen among candidates where it is streamed", async () => {
    const { chat, engine } = await opened(near(0.7));
    const response = await chat({ model: "near", stream: true });
    expect(response.headers.get("x-icdpo-candidates")).toBe("3");
    await readStream(response);
    expect(engine.calls.map(({ type }) => type)).toEqual(["sample", "score"]);
  });
});
