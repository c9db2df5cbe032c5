/**
 * A client that leaves, at any moment: its work stops, and nothing of it stays behind. `npm run check -- disconnect`
 * tries 50, and prints how long that took.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventually, type Gateway, startGateway } from "./gateway.ts";

const moments = Number(process.env["ICDPO_TEST_MOMENTS"] ?? 10);
const others = 3;
let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway({ ICDPO_SEQUENCES: "12", ICDPO_CONTEXT_SIZE: "1024" });
});
afterAll(async () => {
  await gateway.stop();
});

interface Load {
  readonly requests: number;
  readonly engine: { readonly active: number; readonly waiting: number; readonly freeSequences: number };
}

const load = async (): Promise<Load> => (await (await fetch(`${gateway.url}/health`)).json()) as Load;
const isIdle = ({ requests, engine }: Load): boolean =>
  requests === 0 && engine.active === 0 && engine.waiting === 0 && engine.freeSequences === 12;

const messages = [{ role: "user", content: "Tell me about tea, at length." }];
const bodies = [
  { model: "plain", messages, max_tokens: 300, stream: true },
  { model: "icdpo", messages, max_tokens: 100, stream: true },
  { model: "icdpo", messages, max_tokens: 100 },
  { model: "plain", messages, max_tokens: 300 },
  { model: "plain", messages, max_tokens: 300, response_format: { type: "json_object" } },
];

/** Sends a request and leaves after so many ms; true if it was answered before. */
async function leave(body: Record<string, unknown>, afterMs: number): Promise<boolean> {
  try {
    const response = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(afterMs),
    });
    await response.text();
    return true;
  } catch {
    return false;
  }
}

it(`is idle soon after each of ${moments} clients left: queued, in prefill, decoding, scoring or being sent to`, async () => {
  const waits: number[] = [];
  let answered = 0;
  for (let moment = 0; moment < moments; moment++) {
    const afterMs = Math.floor((moment / moments) * 2_000) + 5;
    // In every other round others come first, so that the client leaves the queue.
    const crowd = Array.from({ length: moment % 2 === 0 ? 0 : others }, () =>
      leave(bodies[1] as Record<string, unknown>, afterMs),
    );
    const outcomes = await Promise.all([
      ...crowd,
      leave(bodies[moment % bodies.length] as Record<string, unknown>, afterMs),
    ]);
    answered += outcomes.filter(Boolean).length;
    const left = Date.now();
    await eventually(async () => isIdle(await load()));
    waits.push(Date.now() - left);
  }
  const sorted = waits.toSorted((a, b) => a - b);
  console.log(
    `idle after ${sorted[Math.floor(moments / 2)]} ms at the median, ${sorted.at(-1)} ms at most; ${answered} answered before`,
  );
  expect(answered).toBeLessThan(moments);
  expect(gateway.log()).not.toMatch(/"level":"error"/u);
});
