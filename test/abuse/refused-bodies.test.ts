/** Bodies that are refused: whatever comes is not kept, and the gateway goes on with its work. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attack } from "./attacker.ts";
import { type Attack, plainAttack } from "./attacks.ts";
import { costOf, expectUnblocked, megabyte } from "./measures.ts";
import { secret, servedSite } from "./site.ts";

let site: Awaited<ReturnType<typeof servedSite>>;
beforeAll(async () => {
  site = await servedSite();
});
afterAll(() => site.close());

const path = "/v1/chat/completions";
const endless = (megabytes: number, isAnnounced: boolean): Attack => ({
  ...plainAttack,
  path,
  sent: { type: "endless", megabytes, isAnnounced },
});
const send = (body: Attack, key: string | null) => attack(site.url, body, key);

describe.each([
  ["without a key", null, [401]],
  ["with a key", secret, [413]],
] as const)("600 MB %s", (_, key, statuses) => {
  it.each([
    ["in chunks", false],
    ["announced", true],
  ])("are refused, and held by nobody: %s", async (_, isAnnounced) => {
    const { result, peakBytes, grownBytes } = await expectUnblocked(
      () => send(endless(11, isAnnounced), key),
      () => send(endless(600, isAnnounced), key),
    );
    // In the middle of sending, a client may find the connection closed before it has read why.
    expect([...statuses, null]).toContain(result.status);
    // A body with a key is read up to its limit, 10 MB.
    expect(peakBytes).toBeLessThan(100 * megabyte);
    expect(grownBytes).toBeLessThan(16 * megabyte);
    expect([site.engine.calls.length, site.charged()]).toEqual([0, 0]);
  });
});

it("many of them at once hold no more than one does", async () => {
  const { peakBytes, grownBytes } = await costOf(() =>
    Promise.all(Array.from({ length: 30 }, () => send(endless(100, false), null))),
  );
  expect(peakBytes).toBeLessThan(100 * megabyte);
  expect(grownBytes).toBeLessThan(16 * megabyte);
});
