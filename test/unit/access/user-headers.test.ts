import { describe, expect, it } from "vitest";
import { type ApiKey, hashKey } from "../../../src/access/access.ts";
import { parseKeys } from "../../../src/access/api-keys.ts";
import { unitOf } from "../../../src/experiment/assign.ts";
import { manyRequests } from "../../../src/experiment/lone-unit.ts";
import { gateway, json, SilentObserver } from "../scripted-gateway.ts";

const experiment =
  "experiment: { unit: user, arms: { one: { policy: scored, weight: 1 }, two: { policy: plain, weight: 1 } } }";
const routes = `routes: { plain: { policy: plain }, ab: { ${experiment} } }\n`;
const secret = "front-end-key-0123456789";
const keyed = async (more: Partial<ApiKey> = {}): Promise<ApiKey[]> => [
  { name: "front", hash: await hashKey(secret), routes: null, limits: {}, ...more },
];
const ask = { model: "ab", messages: [{ role: "user", content: "Tea?" }] };

/** A gateway, and the units of its experiment as they are noted. */
async function watched(options: Parameters<typeof gateway>[1] = {}) {
  const units: (string | undefined)[] = [];
  class Observer extends SilentObserver {
    override note(facts?: { readonly unit?: string }): void {
      if (facts?.unit !== undefined) units.push(facts.unit);
    }
  }
  const telemetry = { observe: () => new Observer(), metrics: async () => ({ contentType: "text/plain", body: "" }) };
  const made = await gateway({}, { telemetry, ...options }, {}, routes);
  const unitWith = async (headers: Record<string, string>, fields = {}, path = "/v1/chat/completions") => {
    const sent = { authorization: `Bearer ${secret}`, ...headers };
    const response = await made.post(path, { ...ask, ...fields }, sent);
    expect(response.status, await response.clone().text()).toBe(200);
    return units.at(-1);
  };
  return { ...made, unitWith };
}

const named = (user: string) => unitOf("user", { user, key: undefined, opening: "" });
const byKey = unitOf("user", { user: undefined, key: "front", opening: "" });

describe("a user's name in a header", () => {
  it("means nothing from strangers", async () => {
    const { unitWith } = await watched({ keys: await keyed() });
    expect(await unitWith({ "x-openwebui-user-id": "ann" })).toBe(byKey);
  });

  it.each(["X-OpenWebUI-User-Id", "x-litellm-end-user-id", "x-librechat-user-id"])(
    "is believed behind a trusted proxy: %s",
    async (header) => {
      const userHeaders = { names: [header.toLowerCase(), "x-other"], areTrusted: true };
      const { unitWith } = await watched({ keys: await keyed(), userHeaders });
      expect(await unitWith({ [header]: " ann " })).toBe(named("ann"));
      expect(await unitWith({ [header]: "" })).toBe(byKey);
      expect(await unitWith({ [header]: "", "x-other": "bob" })).toBe(named("bob"));
    },
  );

  it("is believed with a key that may say so, and by the names that the key has", async () => {
    const usual = await watched({ keys: await keyed({ userHeaders: true }) });
    expect(await usual.unitWith({ "x-openwebui-user-id": "ann" })).toBe(named("ann"));
    const own = await watched({ keys: await keyed({ userHeaders: ["x-employee"] }) });
    expect(await own.unitWith({ "x-openwebui-user-id": "ann" })).toBe(byKey);
    expect(await own.unitWith({ "x-employee": "ann" })).toBe(named("ann"));
  });

  it("counts in every protocol, and after the request's own user", async () => {
    const { unitWith } = await watched({ keys: await keyed({ userHeaders: true }) });
    const header = { "x-user-id": "ann" };
    expect(await unitWith(header, { user: "bob" })).toBe(named("bob"));
    expect(await unitWith(header, { user: "" })).toBe(named("ann"));
    expect(await unitWith(header, { input: "Tea?" }, "/v1/responses")).toBe(named("ann"));
    expect(await unitWith(header, { max_tokens: 9 }, "/v1/messages")).toBe(named("ann"));
    expect(await unitWith(header, { max_tokens: 9, metadata: { user_id: "bob" } }, "/v1/messages")).toBe(named("bob"));
  });

  it("is bounded", async () => {
    const { post } = await watched({ keys: await keyed({ userHeaders: true }) });
    const headers = { authorization: `Bearer ${secret}`, "x-user-id": "x".repeat(1_025) };
    const response = await post("/v1/chat/completions", ask, headers);
    expect(response.status).toBe(400);
    expect((await json(response)).error.param).toBe("x-user-id");
  });

  it("is a key's right that its file gives", async () => {
    const hash = `sha256:${"0".repeat(64)}`;
    const entry = (name: string, rights: string) =>
      `  - { name: key-${name}, hash: "${hash.slice(0, -1)}${name}"${rights} }\n`;
    const text = `keys:\n${entry("1", "")}${entry("2", ", user_headers: true")}${entry("3", ", user_headers: [X-Employee]")}`;
    const keys = await parseKeys({ file: { name: "keys.yaml", text }, variable: "", admins: "" });
    expect(keys?.map(({ userHeaders }) => userHeaders)).toEqual([undefined, true, ["x-employee"]]);
  });
});

describe("an experiment by user whose requests are all of one unit", () => {
  it("is told of once", async () => {
    const { unitWith, told } = await watched({ keys: await keyed() });
    for (let i = 0; i < manyRequests + 10; i++) await unitWith({});
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/"ab" is by user, but the first 50 requests are all of one unit.*ICDPO_USER_HEADERS/u);
  });

  it("is not, where there are others", async () => {
    const { unitWith, told } = await watched({ keys: await keyed() });
    for (let i = 0; i < manyRequests + 10; i++) await unitWith({}, { user: i === 3 ? "bob" : "ann" });
    expect(told).toEqual([]);
  });
});
