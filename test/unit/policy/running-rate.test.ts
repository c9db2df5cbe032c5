/** β of a policy: kept across requests and restarts, by several at once. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { RunningRate } from "../../../src/policy/running-rate.ts";
import { openArtifacts } from "../../../src/retrieval/index-files.ts";
import type { ArtifactStore } from "../../../src/retrieval/retriever.ts";
import { quiet } from "../scripted-engine.ts";

function memory(): ArtifactStore & { readonly kept: Map<string, Uint8Array>; puts: number } {
  const kept = new Map<string, Uint8Array>();
  return {
    kept,
    puts: 0,
    get: async (key) => kept.get(key),
    async put(key, bytes) {
      this.puts += 1;
      kept.set(key, bytes);
    },
  };
}

const open = (artifacts?: ArtifactStore) => RunningRate.open("p@1", { artifacts });

describe("a policy's running mean", () => {
  it("pools the candidates of all requests", async () => {
    const rate = await open();
    rate.add({ nats: 3, tokens: 60 });
    rate.add({ nats: 2, tokens: 40 });
    expect(rate.totals).toEqual({ nats: 5, tokens: 100 });
  });

  it("goes on after a restart, and is each policy's own", async () => {
    const store = memory();
    (await open(store)).add({ nats: 3, tokens: 60 });
    await quiet();
    expect((await open(store)).totals).toEqual({ nats: 3, tokens: 60 });
    expect((await RunningRate.open("p@2", { artifacts: store })).totals).toEqual({ nats: 0, tokens: 0 });
  });

  it("goes on after a restart by the files of the cache folder", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "icdpo-rate-"));
    const reported: string[] = [];
    const files = () => openArtifacts(folder, (line) => reported.push(line));
    (await open(files())).add({ nats: 3, tokens: 60 });
    await expect.poll(async () => (await open(files())).totals).toEqual({ nats: 3, tokens: 60 });
    expect(reported).toEqual([]);
    await rm(folder, { recursive: true });
  });

  it("holds what two processes that share a store have added", async () => {
    const store = memory();
    const [one, other] = [await open(store), await open(store)];
    one.add({ nats: 3, tokens: 60 });
    await quiet();
    other.add({ nats: 1, tokens: 40 });
    await quiet();
    one.add({ nats: 5, tokens: 100 });
    await quiet();
    for (const { totals } of [one, await open(store)]) expect(totals).toEqual({ nats: 9, tokens: 200 });
  });

  it("counts once what comes while it is written", async () => {
    const store = memory();
    const rate = await open(store);
    for (let request = 0; request < 3; request++) rate.add({ nats: 1, tokens: 10 });
    await quiet();
    expect(rate.totals).toEqual({ nats: 3, tokens: 30 });
    rate.add({ nats: 1, tokens: 10 });
    await quiet();
    expect((await open(store)).totals).toEqual({ nats: 4, tokens: 40 });
  });

  it("is written when a tenth of it is new", async () => {
    const store = memory();
    const rate = await open(store);
    for (let request = 0; request < 100; request++) {
      rate.add({ nats: 1, tokens: 10 });
      await quiet();
    }
    expect(store.puts).toBeLessThan(40);
    expect((await open(store)).totals.tokens).toBeGreaterThan(900);
  });

  it("forgets older candidates slowly", async () => {
    const rate = await open();
    rate.add({ nats: 100_000, tokens: 100_000 });
    for (let request = 0; request < 1_000; request++) rate.add({ nats: 0, tokens: 1_000 });
    expect(rate.totals.tokens).toBeCloseTo(100_000);
    expect(rate.totals.nats).toBeLessThan(10);
  });

  it("begins anew where what is kept is damaged", async () => {
    const store = memory();
    (await open(store)).add({ nats: 3, tokens: 60 });
    await quiet();
    for (const text of ["{", '{"nats":null,"tokens":60}', '{"nats":1,"tokens":-1}']) {
      for (const key of store.kept.keys()) store.kept.set(key, new TextEncoder().encode(text));
      expect((await open(store)).totals).toEqual({ nats: 0, tokens: 0 });
    }
  });

  it("is written beyond the answer where that has to be asked for", async () => {
    const works: Promise<unknown>[] = [];
    const artifacts = memory();
    const rate = await RunningRate.open("p@1", { artifacts, background: (work) => works.push(work) });
    rate.add({ nats: 3, tokens: 60 });
    await Promise.all(works);
    expect(artifacts.puts).toBe(1);
  });
});
