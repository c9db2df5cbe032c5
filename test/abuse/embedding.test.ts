/** Long texts that are to be embedded: they hold up nobody else, and nothing of them is kept. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { loadEmbedder } from "../../src/retrieval/local-embedder.ts";

const module = new URL("../unit/retrieval/scripted-embedding-thread.mjs", import.meta.url);
const small = { folder: "/models/small", weights: "model.onnx", pooling: "mean" } as const;
setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

/** The longest that the event loop stands still during some work, in ms. */
async function standstill(work: () => Promise<unknown>): Promise<number> {
  const delays = monitorEventLoopDelay({ resolution: 5 });
  delays.enable();
  await work();
  await pause(20);
  delays.disable();
  return delays.max / 1e6;
}

it("of 60 texts of 4 MB less than 50 MB stay, and the loop stands still no longer than for short ones", async () => {
  const embedder = await loadEmbedder(small, "small@1", module);
  const texts = (length: number) => Array.from({ length: 60 }, (_, i) => `${i} ${"word ".repeat(length / 5)}`);
  const short = texts(50);
  const baseline = await standstill(() => embedder.embed(short));
  collect();
  const before = process.memoryUsage();
  // Each in memory of its own.
  let long = texts(4_000_000).map((text) => Buffer.from(text).toString());
  const stood = await standstill(() => embedder.embed(long));
  long = [];
  collect();
  const after = process.memoryUsage();
  expect(after.heapUsed + after.external - before.heapUsed - before.external).toBeLessThan(50_000_000);
  expect(stood).toBeLessThan(50 + 5 * baseline);
});
