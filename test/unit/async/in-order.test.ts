import { expect, test } from "vitest";
import { inOrder } from "../../../src/async/in-order.ts";

test("work is done one piece after another, in the order of asking", async () => {
  const inTurn = inOrder();
  const seen: string[] = [];
  const slow = inTurn(async () => {
    seen.push("slow begins");
    await new Promise((resolve) => setTimeout(resolve, 5));
    seen.push("slow ends");
    return 1;
  });
  const quick = inTurn(() => {
    seen.push("quick");
    return 2;
  });
  expect(await Promise.all([slow, quick])).toEqual([1, 2]);
  expect(seen).toEqual(["slow begins", "slow ends", "quick"]);
});

test("what failed is its caller's, not the next one's", async () => {
  const inTurn = inOrder();
  const failed = inTurn(() => Promise.reject(new Error("full")));
  const thrown = inTurn((): number => {
    throw new Error("wrong");
  });
  const next = inTurn(async () => "written");
  await expect(failed).rejects.toThrow("full");
  await expect(thrown).rejects.toThrow("wrong");
  expect(await next).toBe("written");
});
