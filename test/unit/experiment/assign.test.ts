/** Which arm a unit comes to. */
import { describe, expect, it } from "vitest";
import { assign, pseudonym, shares, unitOf } from "../../../src/experiment/assign.ts";
import { gateway, json } from "../scripted-gateway.ts";

const experiment = (weights: Record<string, number>, ramp = 1, name = "test") => ({
  name,
  ramp,
  arms: Object.entries(weights).map(([arm, weight]) => ({ name: arm, weight })),
});

describe("assignment", () => {
  it("gives each of 100,000 units its arm by weight, always the same, and moves only whom it must", () => {
    const units = 100_000;
    const before = experiment({ a: 1, b: 2, c: 1 });
    const after = experiment({ a: 1, b: 2, c: 2 });
    const half = experiment({ a: 1, b: 2, c: 1 }, 0.5);
    const counts: Record<string, number> = { a: 0, b: 0, c: 0 };
    let [moved, movedElsewhere, enrolled, reshuffled] = [0, 0, 0, 0];
    for (let i = 0; i < units; i++) {
      const unit = `unit-${i}`;
      const arm = assign(before, unit)?.name ?? "none";
      counts[arm] = (counts[arm] ?? 0) + 1;
      const next = assign(after, unit)?.name;
      if (next !== arm) moved += 1;
      if (next !== arm && next !== "c") movedElsewhere += 1;
      const ramped = assign(half, unit)?.name;
      if (ramped !== undefined) enrolled += 1;
      if (ramped !== undefined && ramped !== arm) reshuffled += 1;
    }
    const withinNoise = (count: number, share: number): void =>
      expect(Math.abs(count - units * share)).toBeLessThan(5 * Math.sqrt(units * share * (1 - share)));
    withinNoise(counts["a"] ?? 0, 1 / 4);
    withinNoise(counts["b"] ?? 0, 1 / 2);
    withinNoise(counts["c"] ?? 0, 1 / 4);
    expect(counts["none"]).toBeUndefined();
    // c's share grows from 1/4 to 2/5.
    withinNoise(moved, 2 / 5 - 1 / 4);
    expect(movedElsewhere).toBe(0);
    withinNoise(enrolled, 1 / 2);
    expect(reshuffled).toBe(0);
  });

  it("is the same on every machine", () => {
    const arms = ["ann", "bob", "cleo", "dan", "eve", "finn"].map(
      (unit) => assign(experiment({ treatment: 1, control: 1 }), unit)?.name,
    );
    expect(arms).toMatchInlineSnapshot(`
      [
        "treatment",
        "control",
        "control",
        "treatment",
        "treatment",
        "control",
      ]
    `);
  });

  it("says nothing of one experiment in another", () => {
    let same = 0;
    for (let i = 0; i < 10_000; i++)
      if (
        assign(experiment({ a: 1, b: 1 }), `${i}`)?.name ===
        assign(experiment({ a: 1, b: 1 }, 1, "other"), `${i}`)?.name
      )
        same += 1;
    expect(Math.abs(same - 5_000)).toBeLessThan(250);
  });

  it("lets nobody come to an arm of weight 0", () => {
    for (let i = 0; i < 1_000; i++) expect(assign(experiment({ a: 0, b: 1 }), `${i}`)?.name).toBe("b");
  });

  it("knows its shares", () => {
    expect(shares(experiment({ a: 3, b: 1, c: 0 }).arms)).toEqual({ a: 0.75, b: 0.25, c: 0 });
  });
});

describe("a unit", () => {
  const facts = { user: "ann", key: "team", opening: "Hello" };

  it("is what the experiment says, or the next best there is", () => {
    expect(unitOf("user", facts)).toBe(pseudonym("user", "ann"));
    expect(unitOf("user", { ...facts, user: undefined })).toBe(pseudonym("key", "team"));
    expect(unitOf("user", { ...facts, user: undefined, key: undefined })).toBe(pseudonym("conversation", "Hello"));
    expect(unitOf("key", facts)).toBe(pseudonym("key", "team"));
    expect(unitOf("key", { ...facts, key: undefined })).toBe(pseudonym("conversation", "Hello"));
    expect(unitOf("conversation", facts)).toBe(pseudonym("conversation", "Hello"));
    // No more of it is read.
    const opening = "x".repeat(65_536);
    expect(unitOf("conversation", { ...facts, opening: `${opening}y` })).toBe(pseudonym("conversation", opening));
  });

  it("is not named by what is kept of it", () => {
    expect(unitOf("user", facts)).toMatch(/^[0-9a-f]{32}$/u);
    expect(pseudonym("user", "x")).not.toBe(pseudonym("key", "x"));
  });
});

describe("a route with an experiment", () => {
  const routes = `routes:
  ab: { allow_overrides: true, experiment: { arms: { treatment: { policy: scored }, control: { policy: plain } } } }
  half: { ramp: 0, experiment: { arms: { treatment: { policy: scored }, control: { policy: plain } } } }
  closed: { experiment: { arms: { treatment: { policy: scored }, control: { policy: plain } } } }
`;
  const open = () => gateway({}, {}, {}, routes);
  const headers = async (response: Response | Promise<Response>) => {
    const { headers: found } = await response;
    return { arm: found.get("x-icdpo-arm"), policy: found.get("x-icdpo-policy")?.split("@")[0] };
  };

  it("keeps each user in an arm, whatever they say, and answers under its policy", async () => {
    const { chat } = await open();
    const arms = new Set<string | null>();
    for (const user of ["ann", "bob", "cleo", "dan", "eve", "finn"]) {
      const first = await headers(chat({ model: "ab", user }));
      const again = await headers(
        chat({ model: "ab", safety_identifier: user, messages: [{ role: "user", content: "Other." }] }),
      );
      expect(again).toEqual(first);
      expect(first.policy).toBe(first.arm === "treatment" ? "scored" : "plain");
      arms.add(first.arm);
    }
    expect(arms).toEqual(new Set(["treatment", "control"]));
  });

  it("keeps an unmodified client's conversation in an arm as it goes on", async () => {
    const { chat } = await open();
    const opening = { role: "user", content: "How do I brew coffee?" };
    const first = await headers(chat({ model: "ab", messages: [opening] }));
    const turns = [opening, { role: "assistant", content: "With water." }, { role: "user", content: "And then?" }];
    expect(await headers(chat({ model: "ab", messages: turns }))).toEqual(first);
  });

  it("gives those who do not take part the control's policy, and no arm", async () => {
    const { chat } = await open();
    expect(await headers(chat({ model: "half", user: "ann" }))).toEqual({ arm: null, policy: "plain" });
  });

  it("lets testers choose an arm and change settings, where the route allows it", async () => {
    const { chat } = await open();
    for (const arm of ["treatment", "control"])
      expect((await headers(chat({ model: "ab", user: "ann" }, { "x-icdpo-arm": arm }))).arm).toBe(arm);
    const changed = { icdpo: { explain: true, overrides: { candidates: 5, shots: 1 } } };
    const response = await chat({ model: "ab", ...changed }, { "x-icdpo-arm": "treatment" });
    const { icdpo } = await json(response);
    expect(icdpo).toMatchObject({ arm: "treatment", candidates: { length: 5 }, demonstrations: { length: 1 } });
    // What was changed has a hash of its own.
    const plainly = await json(await chat({ model: "ab", icdpo: { explain: true } }, { "x-icdpo-arm": "treatment" }));
    expect(icdpo.policy).not.toBe(plainly.icdpo.policy);
  });

  it("refuses what it does not allow, and what cannot be", async () => {
    const { chat } = await open();
    const refusal = async (response: Response | Promise<Response>) => {
      const { status } = await response;
      return { status, param: (await json(await response)).error.param };
    };
    expect(await refusal(chat({ model: "closed" }, { "x-icdpo-arm": "control" }))).toEqual({
      status: 400,
      param: "x-icdpo-arm",
    });
    expect(await refusal(chat({ model: "closed", icdpo: { overrides: { shots: 1 } } }))).toEqual({
      status: 400,
      param: "icdpo.overrides",
    });
    expect(await refusal(chat({ model: "ab" }, { "x-icdpo-arm": "gone" }))).toEqual({
      status: 400,
      param: "x-icdpo-arm",
    });
    expect(await refusal(chat({ model: "ab", icdpo: { overrides: { shots: 0 } } }))).toEqual({
      status: 400,
      param: "icdpo.overrides.shots",
    });
    expect(await refusal(chat({ model: "ab", icdpo: { overrides: { policy: "x" } } }))).toMatchObject({ status: 400 });
    const contrast = { candidates: 3, score: { type: "contrast", negative: "rejected" } };
    expect(await refusal(chat({ model: "ab", icdpo: { overrides: contrast } }, { "x-icdpo-arm": "control" }))).toEqual({
      status: 400,
      param: "icdpo.overrides.score",
    });
  });

  it("does not serve /v1/completions and /v1/score, which assign nobody", async () => {
    const { post } = await open();
    const messages = [{ role: "user", content: "Hi" }];
    expect((await post("/v1/score", { model: "ab", messages, completions: ["x"] })).status).toBe(400);
    expect((await post("/v1/completions", { model: "ab", prompt: "x" })).status).toBe(400);
  });
});
