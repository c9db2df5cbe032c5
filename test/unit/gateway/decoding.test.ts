/** Requests to a route whose policy decodes by contrast, over HTTP. */
import { describe, expect, it } from "vitest";
import { chatCompletionSchema } from "../../../src/http/answer-schemas.ts";
import { gateway, readStream } from "../scripted-gateway.ts";

const contrast =
  "demonstrations: set\nretriever: { type: bm25 }\ncandidates: 1\nscore: { type: contrast, negative: rejected }\ndecode: { type: contrast, alpha: 0.5, top: 20 }\nbypass: { max_tokens: 2 }\n";
const messages = [{ role: "user", content: "How do I brew tea?" }];

async function ask(body: object) {
  const { app } = await gateway({}, {}, { contrast });
  return app.request("/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "contrast", messages, seed: 1, ...body }),
  });
}

const streamsOnly = contrast.replace("candidates: 1", "candidates: 2").concat("stream: contrast\n");

async function askStreaming(body: object) {
  const { app } = await gateway({}, {}, { contrast: streamsOnly });
  return app.request("/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "contrast", messages, seed: 1, icdpo: { explain: true }, ...body }),
  });
}

describe("a route whose streams are drawn by contrast", () => {
  it("shows one answer from its first token", async () => {
    const response = await askStreaming({ stream: true });
    expect(response.headers.get("x-icdpo-candidates")).toBe("1");
    const { chunks } = await readStream(response);
    expect(chunks.flatMap(({ choices }) => choices[0]?.delta.content || []).length).toBeGreaterThan(1);
    expect(chunks.findLast(({ icdpo }) => icdpo !== undefined)?.icdpo?.contrast).toMatchObject({ alpha: 0.5 });
  });

  it("chooses whole answers among candidates", async () => {
    const answer = chatCompletionSchema.parse(await (await askStreaming({})).json());
    expect(answer.icdpo?.candidates).toHaveLength(2);
    expect(answer.icdpo).not.toHaveProperty("contrast");
  });

  it("streams several answers chosen whole", async () => {
    const response = await askStreaming({ stream: true, n: 2 });
    expect(response.headers.get("x-icdpo-candidates")).toBe("2");
    const { chunks } = await readStream(response);
    expect(chunks.findLast(({ icdpo }) => icdpo !== undefined)?.icdpo).not.toHaveProperty("contrast");
  });
});

describe("a route that decodes by contrast", () => {
  it("explains by what its answer was drawn", async () => {
    const answer = chatCompletionSchema.parse(await (await ask({ icdpo: { explain: true } })).json());
    // Liked by 2 nats less spread evenly: −28 + 30 over 19 characters and the end.
    expect(answer.icdpo?.contrast).toEqual({ alpha: 0.5, top: 20, mean_log_ratio: expect.closeTo(2 / 20, 10) });
    expect(answer.icdpo?.candidates).toHaveLength(1);
  });

  it("streams from the first token, what it would answer whole", async () => {
    const whole = chatCompletionSchema.parse(await (await ask({})).json());
    const response = await ask({ stream: true });
    expect(response.headers.get("x-icdpo-candidates")).toBe("1");
    const { chunks } = await readStream(response);
    const pieces = chunks.flatMap(({ choices }) => choices[0]?.delta.content || []);
    expect(pieces.length).toBeGreaterThan(1);
    expect(pieces.join("")).toBe(whole.choices[0]?.message.content);
  });

  it("refuses several answers by name", async () => {
    const response = await ask({ n: 2 });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { param: "n", code: "unsupported_parameter" } });
  });

  it("answers plainly what goes past the method, with as many answers as asked for", async () => {
    const response = await ask({ n: 2, max_tokens: 2, icdpo: { explain: true } });
    const answer = chatCompletionSchema.parse(await response.json());
    expect(answer.choices).toHaveLength(2);
    expect(answer.icdpo).toMatchObject({ fallback: "bypass" });
    expect(answer.icdpo).not.toHaveProperty("contrast");
  });
});
