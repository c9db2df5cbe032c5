import { expect, it } from "vitest";
import type { Arm } from "../../../lab/arms.ts";
import { commonFormat } from "../../../lab/commands/mrr.ts";

it("A teacher reads what all arms' scorers read, where they read the same", () => {
  const arm = (format: string) => ({ name: format, policy: { scorer: { format } } }) as unknown as Arm;
  expect(commonFormat([arm("hh-rlhf"), arm("hh-rlhf")])).toBe("hh-rlhf");
  expect(commonFormat([arm("hh-rlhf"), arm("chat")])).toBeUndefined();
});
