/** Reward models of servers: what they are asked, what is read, and what their failures are. */
import { afterEach, describe, expect, it } from "vitest";
import type { RemoteSettings } from "../../../src/engine/engines.ts";
import { remoteReward } from "../../../src/reward/remote-reward.ts";
import { type Handler, type StubServer, sendJson, stubServer } from "../stub-server.ts";

const world = { fetch, now: () => performance.now(), log: () => {} };
const conversation = [{ role: "user", content: "soup?" }] as const;
const servers: StubServer[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.kill();
});

async function server(handler: Handler): Promise<StubServer> {
  const made = await stubServer(handler);
  servers.push(made);
  return made;
}

const settings = (urls: readonly string[], more: Partial<RemoteSettings> = {}): RemoteSettings => ({
  urls,
  timeoutMs: 10_000,
  retries: 1,
  ...more,
});

/** What was asked, health aside. */
const asked = ({ requests }: StubServer) => requests.filter(({ path }) => path !== "/judge/health");

describe("a reward model of a server", () => {
  it("is asked with messages and response at its own URL, key and headers along", async () => {
    const judge = await server((_, response) => sendJson(response, { reward: -1.5 }));
    const more = { apiKey: "secret", headers: { "x-team": "soup" } };
    const model = remoteReward("http", settings([`${judge.url}/judge`], more), world);
    expect(await model.reward(conversation, "hot")).toBe(-1.5);
    expect(judge.requests).toMatchObject([
      {
        path: "/judge",
        headers: { authorization: "Bearer secret", "x-team": "soup" },
        body: { messages: conversation, response: "hot" },
      },
    ]);
  });

  it("may be vLLM's /classify: the raw logit of the only class, or the second's less the first's", async () => {
    let calls = 0;
    const judge = await server((_, response) => sendJson(response, { data: [{ probs: calls++ ? [-1, 3] : [2.5] }] }));
    const model = remoteReward("classify", settings([judge.url], { model: "rm" }), world);
    expect([await model.reward(conversation, "hot"), await model.reward(conversation, "cold")]).toEqual([2.5, 4]);
    expect(judge.requests[0]).toMatchObject({
      path: "/classify",
      body: {
        model: "rm",
        messages: [...conversation, { role: "assistant", content: "hot" }],
        add_generation_prompt: false,
        use_activation: false,
      },
    });
  });

  it("is known by its kind, its name there and its first server, whose password is nobody's", () => {
    const urls = ["http://me:secret@a:1", "http://b:1"];
    const { id } = remoteReward("classify", settings(urls, { model: "rm" }), world);
    expect(id).toBe('["classify","rm","http://a:1"]');
  });

  it("is asked again where that may help, at another server if there is one", async () => {
    let calls = 0;
    const busy = await server((_, response) =>
      calls++ === 0 ? sendJson(response, {}, 503) : sendJson(response, { reward: 1 }),
    );
    expect(await remoteReward("http", settings([`${busy.url}/judge`]), world).reward(conversation, "hot")).toBe(1);
    expect(asked(busy)).toHaveLength(2);
    const gone = await server(() => {});
    gone.kill();
    const both = remoteReward("http", settings([`${gone.url}/judge`, `${busy.url}/judge`], { retries: 0 }), world);
    expect(await both.reward(conversation, "hot")).toBe(1);
  });

  it("is an error where it stays away, said to be final: nobody tries all of that again", async () => {
    const down = await server((_, response) => sendJson(response, {}, 503));
    const model = remoteReward("http", settings([`${down.url}/judge`]), world);
    await expect(model.reward(conversation, "hot")).rejects.toMatchObject({
      code: "engine_unavailable",
      isFinal: true,
    });
    expect(asked(down)).toHaveLength(2);
  });

  it.each([
    ["a refusal, which is not the client's fault", { error: "odd" }, 400],
    ["a wrong key", {}, 401],
    ["no reward", { reward: "tulips" }, 200],
    ["no number", { reward: null }, 200],
  ])("is an error with %s, at once, in words that tell nothing of what was asked", async (_, body, status) => {
    const judge = await server((_request, response) => sendJson(response, body, status));
    const model = remoteReward("http", settings([`${judge.url}/judge`]), world);
    const error = await model.reward(conversation, "tulips").catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "engine_failure", message: expect.stringContaining(judge.url) });
    expect((error as Error).message).not.toContain("tulips");
    expect(asked(judge)).toHaveLength(1);
  });

  it("is hung up on by the signal", async () => {
    const leaving = new AbortController();
    const slow = await server(() => leaving.abort());
    const model = remoteReward("http", settings([`${slow.url}/judge`]), world);
    await expect(model.reward(conversation, "hot", leaving.signal)).rejects.toMatchObject({ code: "cancelled" });
  });
});
