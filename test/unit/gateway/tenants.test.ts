/** Whose words a request's are, and what of its prompts is nobody's own: as engines and embedders are told. */
import { describe, expect, it, vi } from "vitest";
import { hashKey } from "../../../src/access/access.ts";
import type { Prompt } from "../../../src/engine/engine.ts";
import { decode } from "../scripted-engine.ts";
import { gateway, json } from "../scripted-gateway.ts";

const keyOf = async (name: string) => ({
  name,
  hash: await hashKey(`${name}-key-0123456789`),
  routes: null,
  limits: {},
});
const bearer = (name: string) => ({ authorization: `Bearer ${name}-key-0123456789` });
const keys = await Promise.all(["alice", "bob"].map(keyOf));
const question = "How do I brew coffee?";
const body = { model: "icdpo", messages: [{ role: "user", content: question }] };
const experiment =
  "experiment: { unit: user, arms: { one: { policy: scored, weight: 1 }, two: { policy: plain, weight: 1 } } }";
const routes = `routes: { icdpo: { policy: scored, allow_overrides: true }, plain: { policy: plain }, ab: { ${experiment} } }\n`;

type Options = NonNullable<Parameters<typeof gateway>[1]>;

/** A gateway, and the prompts that its engine was given. */
async function watched(dependencies: Options = { keys }, sharesPrefixes = true) {
  const made = await gateway({ sharesPrefixes }, dependencies, {}, routes);
  const { engine, app } = made;
  const calls = [vi.spyOn(engine, "sample"), vi.spyOn(engine, "score")];
  const prompts = (): Prompt[] => calls.flatMap((call) => call.mock.calls.splice(0).map(([prompt]) => prompt));
  const post = async (path: string, sent: object, who?: string) => {
    const response = await made.post(path, sent, who === undefined ? {} : bearer(who));
    expect(response.status, await response.clone().text()).toBe(200);
    return json(response);
  };
  const tenantsOf = async (path: string, sent: object, who?: string) => {
    await post(path, sent, who);
    const tenants = new Set(prompts().map(({ tenant }) => tenant));
    expect(tenants.size).toBe(1);
    return [...tenants][0];
  };
  return { app, post, prompts, tenantsOf, engine };
}

describe("a request's tenant", () => {
  it("is its key, for samples and scores, whatever the endpoint; its name does not tell whose", async () => {
    const { tenantsOf } = await watched();
    const chat = (who: string, more = {}) => tenantsOf("/v1/chat/completions", { ...body, ...more }, who);
    const [alice, bob] = [await chat("alice"), await chat("bob")];
    expect(alice).toMatch(/^[\w-]{43}$/u);
    expect(bob).not.toBe(alice);
    expect(await chat("alice", { model: "plain" })).toBe(alice);
    // Users of one key trust each other as far as the key's holder says.
    expect(await chat("alice", { user: "u" })).toBe(alice);
    expect(await tenantsOf("/v1/responses", { model: "icdpo", input: question }, "alice")).toBe(alice);
    expect(await tenantsOf("/v1/messages", { ...body, max_tokens: 9 }, "alice")).toBe(alice);
    expect(
      await tenantsOf("/v1/completions", { model: "plain", prompt: question, echo: true, logprobs: 1 }, "alice"),
    ).toBe(alice);
    expect(await tenantsOf("/v1/score", { ...body, completions: ["Yes."] }, "alice")).toBe(alice);
    expect(alice).not.toContain("alice");
    // The same in another gateway.
    expect(await (await watched()).tenantsOf("/v1/chat/completions", body, "alice")).toBe(alice);
  });

  it("is a user of it where users are an experiment's unit, or are told apart everywhere", async () => {
    const { tenantsOf } = await watched();
    const ab = (who: string, user?: string) => tenantsOf("/v1/chat/completions", { ...body, model: "ab", user }, who);
    const names = [await ab("alice"), await ab("alice", "u"), await ab("alice", "v"), await ab("bob", "u")];
    expect(new Set(names).size).toBe(4);
    expect(await ab("alice", "u")).toBe(names[1]);
    const all = await watched({ keys, tenantUnit: "user" });
    const chat = (user?: string) => all.tenantsOf("/v1/chat/completions", { ...body, user }, "alice");
    expect([await chat(), await chat("u")]).toEqual(names.slice(0, 2));
    const open = await watched({ keys: [], tenantUnit: "user" });
    const anonymous = (user?: string) => open.tenantsOf("/v1/chat/completions", { ...body, user });
    expect(await anonymous()).toBeUndefined();
    expect(await anonymous("u")).not.toBe(await anonymous("v"));
  });

  it("is not told where there is one only: no key, or one", async () => {
    expect(
      await (await watched({ keys: [] })).tenantsOf("/v1/chat/completions", { ...body, user: "u" }),
    ).toBeUndefined();
    const alone = await watched({ keys: keys.slice(0, 1) });
    const chatPrompt = vi.spyOn(alone.engine, "chatPrompt");
    expect(await alone.tenantsOf("/v1/chat/completions", body, "alice")).toBeUndefined();
    // C⁰, C⁺ and C⁻: it costs nothing.
    expect(chatPrompt).toHaveBeenCalledTimes(3);
  });

  it("has no longer a name than can be read at once, wherever a user is named", async () => {
    const { post } = await gateway({}, { keys: [] }, {}, routes);
    const status = async (path: string, sent: object): Promise<number> => (await post(path, sent)).status;
    const user = "u".repeat(1_025);
    expect(await status("/v1/chat/completions", { ...body, user: user.slice(1) })).toBe(200);
    expect(await status("/v1/chat/completions", { ...body, user })).toBe(400);
    expect(await status("/v1/chat/completions", { ...body, safety_identifier: user })).toBe(400);
    expect(await status("/v1/responses", { model: "icdpo", input: question, user })).toBe(400);
    expect(await status("/v1/completions", { model: "plain", prompt: question, user })).toBe(400);
    expect(await status("/v1/score", { ...body, completions: ["Yes."], user })).toBe(400);
    expect(await status("/v1/embeddings", { model: "scripted-embeddings", input: "x", user })).toBe(400);
  });

  it("is its own where it takes another's place, and its holder was alone", async () => {
    let present = keys.slice(0, 1);
    const { tenantsOf } = await watched({ keys: () => present });
    const chat = (who: string) => tenantsOf("/v1/chat/completions", body, who);
    expect(await chat("alice")).toBeUndefined();
    present = keys.slice(1);
    expect(await chat("bob")).toBeDefined();
    present = keys.slice(0, 1);
    expect(await chat("alice")).toBeUndefined();
  });

  it("is told to the embedder", async () => {
    const tenants: (string | undefined)[] = [];
    const embedder = {
      model: "m@1",
      name: "m",
      embed: async () => [],
      embedKept: async () => [],
      embedCounted: async (_: readonly string[], _signal?: AbortSignal, tenant?: string) => {
        tenants.push(tenant);
        return [{ embedding: Float32Array.of(1), tokens: 1 }];
      },
    };
    const { post, tenantsOf } = await watched({ keys, embedder: async () => embedder });
    for (const who of ["alice", "bob"]) await post("/v1/embeddings", { model: "m", input: "x" }, who);
    const asked = await Promise.all(
      ["alice", "bob"].map((who) => tenantsOf("/v1/chat/completions", { ...body, model: "plain" }, who)),
    );
    expect(tenants).toEqual(asked);
  });
});

describe("what of a prompt is nobody's own", () => {
  const openings = (prompts: readonly Prompt[]) =>
    prompts.map(({ tokens, shared = 0 }) => decode(tokens.slice(0, shared)));

  it("is what the policy and its demonstrations say, up to the client's first word", async () => {
    const { post, prompts } = await watched();
    await post("/v1/chat/completions", body, "alice");
    const [positive = "", negative = ""] = [...new Set(openings(prompts()))];
    expect(positive).toMatch(/^<system>.*Warm the pot first\.<\/assistant>.*<\/assistant><user>$/u);
    expect(negative).toMatch(/^<system>.*Who cares\.<\/assistant>.*<\/assistant><user>$/u);
    // Nor does it depend on what the client says.
    for (const content of ["?", "Will it rain?", "<"]) {
      await post("/v1/chat/completions", { ...body, messages: [{ role: "user", content }] }, "bob");
      for (const opening of openings(prompts()))
        expect(opening).toMatch(/^<system>.*<user>\??(?:<\/user><assistant>)?$/u);
    }
  });

  it("ends where the client's own system text begins", async () => {
    const { post, prompts } = await watched();
    const messages = [{ role: "system", content: "My name is Alice." }, ...body.messages];
    await post("/v1/chat/completions", { ...body, messages }, "alice");
    expect(new Set(openings(prompts()))).toEqual(new Set(["<system>"]));
  });

  it("is nothing where the instructions or demonstrations are the request's, or nothing stands before its words", async () => {
    const { post, prompts } = await watched();
    const none = async (path: string, sent: object) => {
      await post(path, sent, "alice");
      expect(new Set(openings(prompts()))).toEqual(new Set([""]));
    };
    const instructions = { positive: "Be Alice's.", negative: "Be nobody's." };
    await none("/v1/chat/completions", { ...body, icdpo: { overrides: { instructions } } });
    const demonstrations = [{ messages: [{ role: "user", content: "Mine?" }], chosen: "Mine.", rejected: "Yours." }];
    await none("/v1/score", { ...body, completions: ["Yes."], demonstrations });
    await none("/v1/chat/completions", { ...body, model: "plain" });
    await none("/v1/completions", { model: "plain", prompt: question });
  });

  it("is not asked of an engine that makes nothing of it", async () => {
    const { post, prompts, engine } = await watched({ keys }, false);
    const chatPrompt = vi.spyOn(engine, "chatPrompt");
    await post("/v1/chat/completions", body, "alice");
    expect(new Set(openings(prompts()))).toEqual(new Set([""]));
    expect(chatPrompt).toHaveBeenCalledTimes(3);
  });
});
