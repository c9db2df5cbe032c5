/**
 * Those who read an answer slowly, not at all, or leave in the middle of it: they hold little, and pay for what was
 * done.
 */
import { afterEach, describe, expect, it } from "vitest";
import { attack } from "./attacker.ts";
import { type Attack, plainAttack, type Reader } from "./attacks.ts";
import { costOf, expectUnblocked, megabyte } from "./measures.ts";
import { secret, servedSite } from "./site.ts";

type Site = Awaited<ReturnType<typeof servedSite>>;
const sites: Site[] = [];
async function opened(...options: Parameters<typeof servedSite>): Promise<Site> {
  const site = await servedSite(...options);
  sites.push(site);
  return site;
}
afterEach(async () => {
  for (const site of sites.splice(0)) await site.close();
});

const messages = [{ role: "user", content: "Tell me a story." }];
const chat = "/v1/chat/completions";
const asking = (body: object, reader: Reader = { type: "whole" }, path = chat): Attack => ({
  ...plainAttack,
  path,
  sent: { type: "whole", bytes: JSON.stringify(body) },
  reader,
});

const word = `${"x".repeat(199)} `;

it("a stream of thousands of pieces takes room for its text, not for its text at each of them", async () => {
  // Less than a reader may fall behind: the scripted engine waits for nobody.
  const { url } = await opened({ sample: () => ({ text: word.repeat(4_000) }) });
  const ask = (stream: boolean) => attack(url, asking({ model: "plain", messages, stream }), secret);
  const { result, peakBytes, grownBytes } = await expectUnblocked(
    () => ask(false),
    () => ask(true),
  );
  expect([result.status, result.ended, result.text.slice(-14)]).toEqual([200, "whole", "data: [DONE]\n\n"]);
  // The scripted engine's own tokens among it.
  expect(peakBytes).toBeLessThan(200 * megabyte);
  expect(grownBytes).toBeLessThan(32 * megabyte);
});

it("those who stop reading are held a megabyte each, and then ended", async () => {
  const readers = 4;
  const site = await opened({ sample: () => ({ text: word.repeat(7_000) }) }, { readerMs: 300 });
  const stopping = asking({ model: "plain", messages, stream: true }, { type: "stops", forMs: 10_000 });
  const { result: outcomes, grownBytes } = await costOf(async () => {
    const asked = Array.from({ length: readers }, () => attack(site.url, stopping, secret));
    await expect.poll(() => site.records.length).toBe(readers);
    return asked;
  });
  expect(grownBytes).toBeLessThan(readers * 4 * megabyte);
  expect(site.records.map(({ status }) => status)).toEqual(Array(readers).fill(499));
  await Promise.all(outcomes);
  await expect.poll(site.underWay).toBe(0);
  expect(site.charged()).toBe(site.engine.worked);
});

describe("those who leave at any moment pay what the engine has done for them", () => {
  it.each([
    ["a plain stream", chat, { model: "plain", messages, stream: true, n: 2 }],
    ["a scored answer", chat, { model: "icdpo", messages }],
    ["a scored stream", chat, { model: "icdpo", messages, stream: true }],
    ["a response", "/v1/responses", { model: "plain", input: "Tell me a story.", stream: true }],
    ["a message", "/v1/messages", { model: "icdpo", messages, max_tokens: 99, stream: true }],
    ["completions of several prompts", "/v1/completions", { model: "plain", prompt: ["Here", "There"], n: 2 }],
    ["a scoring", "/v1/score", { model: "icdpo", messages, completions: ["A story.", "No.", "Perhaps."] }],
  ])("%s", async (_, path, body) => {
    const site = await opened({
      sample: (index) => ({ text: `Candidate number ${index}, and so on, for a while.` }),
      pause: () => new Promise((resolve) => setTimeout(resolve, 20)),
    });
    const leavers = Array.from({ length: 30 }, (_, i) =>
      attack(site.url, asking(body, { type: "leaves", afterMs: i * 8 }, path), secret),
    );
    const outcomes = await Promise.all(leavers);
    // Some have waited, so that something was done in any case.
    outcomes.push(await attack(site.url, asking(body, { type: "whole" }, path), secret));
    expect(outcomes.at(-1)).toMatchObject({ status: 200, ended: "whole" });
    await expect.poll(site.underWay).toBe(0);
    expect(site.engine.worked).toBeGreaterThan(0);
    await expect.poll(site.charged).toBe(site.engine.worked);
    expect(site.engine.calls.map(({ state }) => state)).not.toContain("open");
  });
});
