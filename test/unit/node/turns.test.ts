/** Heavy work takes turns: however much of it comes at once, the event loop goes round in between. */
import { expect, it } from "vitest";
import { BodyRoom } from "../../../src/gateway/body-room.ts";
import { turns } from "../../../src/node/turns.ts";
import { gateway } from "../scripted-gateway.ts";

/** Counts the rounds of the event loop. */
class Rounds {
  count = 0;
  #next = setImmediate(() => this.#round());

  #round(): void {
    this.count += 1;
    this.#next = setImmediate(() => this.#round());
  }

  end(): void {
    clearImmediate(this.#next);
  }
}

it("each turn has a round of its own, in the order in which they were asked for", async () => {
  const turn = turns();
  const rounds = new Rounds();
  const order = Array.from({ length: 10 }, (_, i) => i);
  const seen: [index: number, round: number][] = [];
  await Promise.all(
    order.map(async (i) => {
      await turn();
      seen.push([i, rounds.count]);
    }),
  );
  rounds.end();
  expect(seen.map(([index]) => index)).toEqual(order);
  expect(new Set(seen.map(([, round]) => round)).size).toBe(10);
});

it("whoever fails in a turn holds nobody up", async () => {
  const turn = turns();
  const failing = turn().then(() => Promise.reject(new Error("of no matter")));
  await expect(Promise.all([failing, turn()])).rejects.toThrow("of no matter");
  await turn();
});

it("is taken by bodies that are large or of many values, and by schemas that are new", async () => {
  let taken = 0;
  const turn = async (): Promise<void> => {
    taken += 1;
  };
  const { post } = await gateway({}, { turn, bodyRoom: new BodyRoom(2 ** 20) });
  const greeting = { model: "plain", messages: [{ role: "user", content: "Hi" }] };
  const turnsOf = async (more: object): Promise<number> => {
    taken = 0;
    const response = await post("/v1/chat/completions", { ...greeting, ...more });
    expect(response.status).toBe(200);
    return taken;
  };
  const schema = { const: "taken by turns" };
  const format = { response_format: { type: "json_schema", json_schema: { name: "a", schema } } };
  expect(await turnsOf({})).toBe(0);
  expect(await turnsOf({ ignored: "x".repeat(20_000) })).toBe(1);
  // However short they are.
  expect(await turnsOf({ ignored: Array(600).fill(0) })).toBe(1);
  expect(await turnsOf(format)).toBe(1);
  expect(await turnsOf(format)).toBe(0);
});
