import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { LinkedSignal } from "../../../src/async/linked-signal.ts";
import { gateway } from "../scripted-gateway.ts";

describe("a linked signal", () => {
  it("fires with the first of its sources, and for its reason", () => {
    const [first, second] = [new AbortController(), new AbortController()];
    const { signal } = new LinkedSignal([first.signal, undefined, second.signal]);
    expect(signal.aborted).toBe(false);
    second.abort("enough");
    first.abort("too late");
    expect(signal).toMatchObject({ aborted: true, reason: "enough" });
  });

  it("has fired where a source has", () => {
    expect(new LinkedSignal([new AbortController().signal, AbortSignal.abort("before")]).signal.reason).toBe("before");
  });

  it("leaves nothing in its sources once it is released, or has fired", () => {
    const { signal: source } = new AbortController();
    const [released, fired] = [new LinkedSignal([source]), new LinkedSignal([source])];
    expect(getEventListeners(source, "abort")).toHaveLength(2);
    released.release();
    fired.abort();
    expect(getEventListeners(source, "abort")).toHaveLength(0);
    expect(released.signal.aborted).toBe(false);
  });
});

describe("requests that are over", () => {
  it.each([
    ["answered", "/v1/chat/completions", {}],
    ["streamed", "/v1/chat/completions", { stream: true }],
    ["refused", "/v1/chat/completions", { n: 17 }],
    [
      "refused for their grammar",
      "/v1/chat/completions",
      { response_format: { type: "json_schema", json_schema: { schema: { not: {} } } } },
    ],
    ["of the older kind", "/v1/completions", { prompt: "Tea is" }],
    ["of the older kind, streamed", "/v1/completions", { prompt: "Tea is", stream: true }],
  ])("leave nothing in the signal for shutdown when they were %s", async (_, path, fields) => {
    const { signal: shutdown } = new AbortController();
    const { post } = await gateway({}, { shutdown });
    const response = await post(path, { model: "plain", messages: [{ role: "user", content: "Hello" }], ...fields });
    await response.text();
    await new Promise((resolve) => setImmediate(resolve));
    expect(getEventListeners(shutdown, "abort")).toHaveLength(0);
  });

  it("did listen to it", async () => {
    const { signal: shutdown } = new AbortController();
    let listeners = 0;
    const pause = async (): Promise<void> => {
      listeners = Math.max(listeners, getEventListeners(shutdown, "abort").length);
    };
    const { chat } = await gateway({ pause }, { shutdown });
    expect((await chat({})).status).toBe(200);
    expect(listeners).toBe(1);
  });
});
