/**
 * Pages of other sites, in a browser beside a gateway that needs no key: they keep it at nothing, whatever they send it
 * without asking first.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attack } from "./attacker.ts";
import { plainAttack } from "./attacks.ts";
import { servedSite } from "./site.ts";

let site: Awaited<ReturnType<typeof servedSite>>;
beforeAll(async () => {
  site = await servedSite({}, { keys: () => null });
});
afterAll(() => site.close());

const messages = [{ role: "user", content: "Hi" }];
const form = (fields: Record<string, string>): string => new URLSearchParams(fields).toString();
/** What a page can send without being asked first whether it may. */
const simple = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""];
const api: readonly (readonly [string, object])[] = [
  ["/v1/chat/completions", { model: "plain", messages }],
  ["/routes/plain/v1/chat/completions", { model: "plain", messages }],
  ["/v1/responses", { model: "plain", input: "Hi" }],
  ["/v1/messages", { model: "plain", messages, max_tokens: 9 }],
  ["/v1/messages/count_tokens", { model: "plain", messages }],
  ["/v1/completions", { model: "plain", prompt: "Hi" }],
  ["/v1/embeddings", { model: "scripted-embeddings", input: "Hi" }],
  ["/v1/score", { model: "icdpo", messages, completions: ["Hi"] }],
  ["/v1/feedback", { id: "chatcmpl-1", rating: "up" }],
];
const send = (path: string, bytes: string, headers: Record<string, string>) =>
  attack(site.url, { ...plainAttack, path, headers, sent: { type: "whole", bytes } }, null);

describe("what another site's page sends", () => {
  it.each(api)("is refused by its origin, whatever it says that it is: %s", async (path, body) => {
    for (const origin of ["http://evil.example", "null", "http://127.0.0.1:1"])
      for (const type of [...simple, "application/json"])
        expect(await send(path, JSON.stringify(body), { origin, "content-type": type })).toMatchObject({ status: 403 });
    for (const type of [...simple, "application/json"])
      expect(
        await send(path, JSON.stringify(body), { "sec-fetch-site": "cross-site", "content-type": type }),
      ).toMatchObject({
        status: 403,
      });
  });

  it.each(api)(
    "is refused where it says nothing of where it comes from, for it cannot say that it is JSON: %s",
    async (path, body) => {
      for (const type of simple)
        expect(await send(path, JSON.stringify(body), { "content-type": type })).toMatchObject({ status: 415 });
    },
  );

  it.each([
    ["/", form({ message: "Hi", route: "plain", history: "[]" })],
    ["/play", form({ message: "Hi", route: "plain", history: "[]" })],
    ["/rate", form({ id: "play-1", rating: "up" })],
  ])("is refused as a form: %s", async (path, bytes) => {
    for (const headers of [{ origin: "http://evil.example" }, { origin: "null" }, { "sec-fetch-site": "cross-site" }])
      expect(
        await send(path, bytes, { "content-type": "application/x-www-form-urlencoded", ...headers } as never),
      ).toMatchObject({
        status: 403,
      });
  });

  it("has kept the engine at nothing", () => {
    expect([site.engine.calls.length, site.engine.worked, site.charged()]).toEqual([0, 0, 0]);
  });
});
