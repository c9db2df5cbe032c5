/** Policies of an isolate whose requests may be ended at any time, with all that they wait for. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { WorkerPolicies } from "../../src/worker/isolate-policies.ts";
import { startVllmStub, type VllmStub } from "./vllm-stub.ts";

let vllm: VllmStub;

beforeAll(async () => {
  vllm = await startVllmStub();
});
afterAll(() => vllm.close());
beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());

function bundle(routes: readonly string[], engine = vllm.url): string {
  return JSON.stringify({
    version: "1",
    policies: { plain: "candidates: 1\nscore: { type: none }\n" },
    routes: `routes: { ${routes.map((name) => `${name}: { policy: plain }`).join(", ")} }`,
    demonstrations: {},
    engines: `engines: { default: { type: vllm, urls: ["${engine}"], retries: 0 } }`,
  });
}

async function open(kept: { text: () => Promise<string> }) {
  const said: string[] = [];
  const policies = await WorkerPolicies.open({
    builtIn: null,
    kept: () => kept.text(),
    engines: undefined,
    variables: {},
    world: { fetch, now: () => performance.now(), log: (line) => said.push(line) },
    reloadMs: 1_000,
    embedder: () => Promise.reject(new Error("not needed")),
  });
  return { policies, said, routes: () => [...policies.current.routes.keys()] };
}

describe("a worker's policies", () => {
  it("are looked at again after a while, one look at a time", async () => {
    const text = vi.fn(async () => bundle(["a"]));
    const { policies, routes } = await open({ text });
    text.mockImplementation(async () => bundle(["a", "b"]));
    await policies.look();
    expect(text).toHaveBeenCalledTimes(1);
    vi.setSystemTime(Date.now() + 1_000);
    await Promise.all([policies.look(), policies.look()]);
    expect(routes()).toEqual(["a", "b"]);
    // Once to see that it has changed, once to take it.
    expect(text).toHaveBeenCalledTimes(3);
  });

  it("are opened anew where a look was ended in the middle of it", async () => {
    const kept = { text: async () => bundle(["a"]) };
    const { policies, routes } = await open(kept);
    kept.text = () => new Promise(() => {});
    vi.setSystemTime(Date.now() + 1_000);
    policies.look().catch(() => {});
    kept.text = async () => bundle(["b"]);
    vi.setSystemTime(Date.now() + 2_000);
    await policies.look();
    expect(routes()).toEqual(["a"]);
    vi.setSystemTime(Date.now() + 60_000);
    await policies.look();
    expect(routes()).toEqual(["b"]);
  });

  it("are tried again without a newer bundle where an engine was away", async () => {
    const kept = { text: async () => bundle(["a"]) };
    const { policies, routes } = await open(kept);
    const late = await startVllmStub();
    late.close();
    kept.text = async () => bundle(["a", "b"], late.url);
    vi.setSystemTime(Date.now() + 1_000);
    await policies.look();
    expect(policies.state.error).toMatchObject({ mayPass: true });
    const started = await startVllmStub(Number(new URL(late.url).port));
    try {
      vi.setSystemTime(Date.now() + 1_000);
      await policies.look();
      expect(policies.state.error).toBeNull();
      expect(routes()).toEqual(["a", "b"]);
    } finally {
      started.close();
    }
  });

  it("may name reward models of the engines file", async () => {
    const engines = `engines: { default: { type: vllm, urls: ["${vllm.url}"] } }
rewards: { judge: { type: classify, urls: ["http://judge:8000"], model: rm } }`;
    const judged = { policies: { plain: "score: { type: reward, model: judge }\n" }, engines };
    const { policies } = await open({ text: async () => JSON.stringify({ ...JSON.parse(bundle(["a"])), ...judged }) });
    expect(policies.current.policies.get("plain")?.reward?.id).toBe('["classify","rm","http://judge:8000"]');
  });

  it("let go of engines that they do not need any more", async () => {
    const engines = `engines:
  default: { type: vllm, urls: ["${vllm.url}"] }
  away: { type: openai, urls: ["http://127.0.0.1:9"], model: m, retries: 0 }
`;
    const both = JSON.parse(bundle(["a", "b"]));
    both.policies.away = "engine: away\ncandidates: 1\nscore: { type: none }\n";
    const kept = {
      text: async () =>
        JSON.stringify({ ...both, engines, routes: "routes: { a: { policy: plain }, b: { policy: away } }" }),
    };
    const { policies, routes } = await open(kept);
    expect((await policies.engines.state()).status).toBe("unreachable");
    kept.text = async () => JSON.stringify({ ...both, engines, routes: "routes: { a: { policy: plain } }" });
    vi.setSystemTime(Date.now() + 1_000);
    await policies.look();
    expect(routes()).toEqual(["a"]);
    expect(await policies.engines.state()).toMatchObject({
      status: "ready",
      engines: { default: { status: "ready" } },
    });
    expect((await policies.engines.state()).engines).not.toHaveProperty("away");
  });

  it("keep their engines where newer ones cannot be reached", async () => {
    const kept = { text: async () => bundle(["a"]) };
    const { policies, routes, said } = await open(kept);
    kept.text = async () => bundle(["a", "b"], "http://127.0.0.1:9");
    vi.setSystemTime(Date.now() + 1_000);
    await policies.look();
    expect(routes()).toEqual(["a"]);
    expect(said.at(-1)).toContain("not in force");
    expect(policies.state.error?.message).toContain('The engine "default" cannot be reached');
    expect((await policies.engines.state()).status).toBe("ready");
  });
});
