/** Thoughts in the words of each protocol, whole and streamed. */
import { describe, expect, it } from "vitest";
import { chatChunkSchema, chatCompletionSchema } from "../../../src/http/answer-schemas.ts";
import { messageAnswerSchema, messageEventSchema } from "../../../src/http/messages/messages-schemas.ts";
import { responseSchema } from "../../../src/http/responses/responses-schemas.ts";
import { eventsOf, gateway, json, readStream } from "../scripted-gateway.ts";
import { thinks } from "../thinking-script.ts";

const think = "candidates: 1\nscore: { type: none }\nreasoning: { mode: on }\n";
const scored =
  "demonstrations: set\nretriever: { type: bm25 }\ncandidates: 2\nscore: { type: contrast, negative: rejected }\nreasoning: { mode: on }\n";

/** The second answer is liked better by C⁺. */
function sum(context: string, text: string): number {
  return context.includes("Who cares.") || context.includes("Google it.") ? -30 : text.startsWith("Cold") ? -5 : -9;
}

async function thinking(dependencies = {}, script = thinks(["I wonder."], ["Warm water.", "Cold water."])) {
  const made = await gateway({ ...script, sum }, dependencies, {
    think,
    scored,
  });
  const ask = (body: object) => made.chat({ model: "think", ...body });
  return { ...made, ask };
}

describe("a chat", () => {
  it("tells the thought apart from the answer, and counts it", async () => {
    const { ask } = await thinking();
    const body = chatCompletionSchema.parse(await json(await ask({})));
    expect(body.choices[0]?.message).toMatchObject({ content: "Warm water.", reasoning_content: "I wonder." });
    expect(body.usage).toMatchObject({
      completion_tokens: 10 + 11,
      completion_tokens_details: { reasoning_tokens: 10 },
    });
  });

  it.each([
    ["reasoning", { reasoning: "I wonder." }],
    ["both", { reasoning: "I wonder.", reasoning_content: "I wonder." }],
  ] as const)("tells it by the name %s, where a setting says so", async (reasoningWord, named) => {
    const { ask } = await thinking({ reasoningWord });
    const { message } = (await json(await ask({}))).choices[0];
    expect(message).toEqual({ role: "assistant", content: "Warm water.", refusal: null, ...named });
  });

  it.each(["think", "scored"])("streams it before the answer, on %s routes", async (model) => {
    const { chat } = await thinking();
    const { chunks } = await readStream(await chat({ model, stream: true, stream_options: { include_usage: true } }));
    for (const chunk of chunks) chatChunkSchema.parse(chunk);
    const deltas = chunks.flatMap(({ choices }) => choices.map(({ delta }: { delta: object }) => delta));
    const kinds = deltas.flatMap((delta) => Object.keys(delta).filter((key) => /content$/u.test(key)));
    expect(deltas.map((delta) => delta.reasoning_content ?? "").join("")).toBe("I wonder.");
    expect(deltas.map((delta) => delta.content ?? "").join("")).toBe(model === "think" ? "Warm water." : "Cold water.");
    expect(kinds.lastIndexOf("reasoning_content")).toBeLessThan(kinds.indexOf("content", 1));
    expect(chunks.at(-1).usage.completion_tokens_details).toEqual({ reasoning_tokens: 10 });
  });

  it.each([
    [{ reasoning_effort: "none" }],
    [{ chat_template_kwargs: { enable_thinking: false } }],
    [{ think: false }],
    [{ thinking_budget_tokens: 0 }],
  ])("has no thought where the request says %o", async (body) => {
    const { ask } = await thinking();
    const answer = await json(await ask({ ...body, icdpo: { explain: true } }));
    expect(answer.choices[0].message).not.toHaveProperty("reasoning_content");
    expect(answer.icdpo.reasoning).toEqual({ mode: "off" });
    expect(answer.usage.completion_tokens_details).toEqual({ reasoning_tokens: 0 });
  });

  it.each([
    [{ reasoning_effort: "high" }, 8_192],
    [{ reasoning_effort: "minimal" }, 128],
    [{ thinking_token_budget: 33 }, 33],
    [{ reasoning_budget: 33, reasoning_effort: "high" }, 33],
    [{ think: "low" }, 512],
  ])("has the budget of %o", async (body, budget) => {
    const { ask } = await thinking();
    expect((await json(await ask({ ...body, icdpo: { explain: true } }))).icdpo.reasoning).toMatchObject({ budget });
  });

  it("refuses an effort that nobody knows", async () => {
    const { ask } = await thinking();
    const response = await ask({ reasoning_effort: "a lot" });
    expect(response.status).toBe(400);
    expect((await json(response)).error.message).toContain("must be none, minimal, low, medium or high");
  });

  it("keeps log-probabilities and formats to the answer", async () => {
    const { ask, engine } = await thinking({}, thinks(["I wonder."], ['{"a": 1}']));
    const answer = await json(await ask({ logprobs: true, response_format: { type: "json_object" } }));
    expect(answer.choices[0].message.content).toBe('{"a": 1}');
    expect(answer.choices[0].logprobs.content.map(({ token }: { token: string }) => token).join("")).toBe('{"a": 1}');
    const grammars = engine.calls.map((call) => call.type === "sample" && call.request.grammar !== undefined);
    expect(grammars).toEqual([false, true]);
  });

  it("gives the template thoughts of the history", async () => {
    const { ask, engine } = await thinking();
    const turns = [
      { role: "user", content: "Hi" },
      { role: "assistant", content: "Hello.", reasoning_content: "Be kind." },
      { role: "user", content: "Tea?" },
    ];
    expect((await ask({ messages: turns })).status).toBe(200);
    expect(engine.calls.every(({ context }) => context.includes("<assistant><was Be kind.>Hello."))).toBe(true);
  });

  it("counts what both may take against the client's limit", async () => {
    const { ask } = await thinking({}, thinks(["A long thought about it"], ["Warm water."]));
    const answer = await json(await ask({ max_tokens: 16, icdpo: { explain: true } }));
    expect(answer.icdpo).toMatchObject({ max_tokens: 4, reasoning: { tokens: 12, closed_by: "budget" } });
  });
});

describe("a response", () => {
  it("has an item of what was thought", async () => {
    const { post } = await thinking();
    const body = responseSchema.parse(
      await json(await post("/v1/responses", { model: "think", input: "Hi", reasoning: { effort: "low" } })),
    );
    expect(body.output.map(({ type }) => type)).toEqual(["reasoning", "message"]);
    expect(body.output[0]).toMatchObject({ content: [{ type: "reasoning_text", text: "I wonder." }] });
    expect(body.usage?.output_tokens_details).toEqual({ reasoning_tokens: 10 });
    expect(body.reasoning.effort).toBe("low");
  });

  it("streams it", async () => {
    const { post } = await thinking();
    const response = await post("/v1/responses", { model: "think", input: "Hi", stream: true });
    const events = eventsOf(await response.text()).flatMap((event) => event.match(/^data: (.*)$/mu)?.[1] ?? []);
    const types = events.map((event) => JSON.parse(event)).map(({ type }) => type.replace("response.", ""));
    expect([...new Set(types)]).toEqual([
      "created",
      "in_progress",
      "output_item.added",
      "content_part.added",
      "reasoning_text.delta",
      "reasoning_text.done",
      "content_part.done",
      "output_item.done",
      "output_text.delta",
      "output_text.done",
      "completed",
    ]);
    const { response: whole } = JSON.parse(events.at(-1) as string);
    expect(responseSchema.parse(whole).output.map(({ type }) => type)).toEqual(["reasoning", "message"]);
  });

  it("has none where its effort is none", async () => {
    const { post } = await thinking();
    const body = await json(
      await post("/v1/responses", { model: "think", input: "Hi", reasoning: { effort: "none" } }),
    );
    expect(body.output.map(({ type }: { type: string }) => type)).toEqual(["message"]);
  });
});

describe("a message", () => {
  const asked = { model: "think", max_tokens: 100, messages: [{ role: "user", content: "Hi" }] };

  it("has a block of what was thought", async () => {
    const { post } = await thinking();
    const body = messageAnswerSchema.parse(await json(await post("/v1/messages", asked)));
    expect(body.content).toEqual([
      { type: "thinking", thinking: "I wonder.", signature: "" },
      { type: "text", text: "Warm water.", citations: null },
    ]);
  });

  it("streams it", async () => {
    const { post } = await thinking();
    const response = await post("/v1/messages", {
      ...asked,
      stream: true,
      thinking: { type: "enabled", budget_tokens: 64 },
    });
    const events = eventsOf(await response.text()).flatMap((event) => event.match(/^data: (.*)$/mu)?.[1] ?? []);
    const parsed = events.map((event) => messageEventSchema.parse(JSON.parse(event)));
    const starts = parsed.flatMap((event) => (event.type === "content_block_start" ? [event.content_block.type] : []));
    expect(starts).toEqual(["thinking", "text"]);
  });

  it.each([{}, { thinking: { type: "disabled" } }])("is counted as its usage says: %o", async (more) => {
    const { post } = await thinking();
    const { usage } = await json(await post("/v1/messages", { ...asked, ...more }));
    const counted = await json(await post("/v1/messages/count_tokens", { ...asked, ...more }));
    expect(counted.input_tokens).toBe(usage.input_tokens);
  });

  it("has none where thinking is disabled", async () => {
    const { post } = await thinking();
    const body = await json(await post("/v1/messages", { ...asked, thinking: { type: "disabled" } }));
    expect(body.content.map(({ type }: { type: string }) => type)).toEqual(["text"]);
  });
});

describe("POST /v1/score", () => {
  it("takes the thought that completions follow", async () => {
    const { post, engine } = await thinking();
    const messages = [{ role: "user", content: "Hi" }];
    const response = await post("/v1/score", {
      model: "scored",
      messages,
      completions: ["A"],
      reasoning_content: "Hm.",
    });
    expect(response.status).toBe(200);
    expect(engine.calls.every(({ context }) => context.endsWith("<t>Hm. </t>"))).toBe(true);
  });
});
