/** No pattern that policies take holds the event loop up, whatever text a user sends. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { expect, it } from "vitest";
import { compilePattern } from "../../src/policy/user-pattern.ts";

/** All of these are exponential or worse where a matcher tracks back. */
const patterns = [
  "(a+)+$",
  "(a|aa)+$",
  "(a|a)*b",
  "([a-z]+)*!x",
  "^(([a-z])+.)+[A-Z]([a-z])+$",
  "(?:a?){300}a{300}",
  "(.*)*=(.*)*;",
];
const texts = [
  "a".repeat(28),
  `${"a".repeat(28)}!`,
  "a".repeat(2_000_000),
  `${"a=".repeat(500_000)}!`,
  "\u00e9".repeat(100_000),
];

/** The longest that the loop stands still, in ms, while the work's steps are done one a turn. */
async function longestDelay(steps: readonly (() => void)[]): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  for (const step of steps) {
    step();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
  delay.disable();
  return delay.max / 1e6;
}

it("patterns that would track back for ever take as long as any", async () => {
  const matchers = patterns.map(compilePattern);
  const baseline = compilePattern("^[a-z]*b[a-z]*c$");
  const idle = await longestDelay(texts.map((text) => () => void baseline(text)));
  const busy = await longestDelay(matchers.flatMap((matches) => texts.map((text) => () => void matches(text))));
  expect(busy).toBeLessThan(20 * idle + 2_000);
});
