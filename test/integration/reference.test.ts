/**
 * @module The numeric check: sums from PyTorch in float32 against POST /v1/score, prompt hh-rlhf. Needs the data (`ICDPO_TEST_DATA`, a folder)
 * and an F32 copy of the default model (`ICDPO_TEST_F32_MODEL`). Four rows by default; `npm run check:reference` takes all, and shows what
 * quantised weights do to the same sums.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type Gateway, post, startGateway } from "./gateway.ts";
import { dataFolder, readPairs } from "./hh-rlhf.ts";

interface Sums {
  readonly tokens: number;
  readonly positive: number;
  readonly negative: number;
  readonly base: number;
}
interface Scored extends Sums {
  readonly s: number;
  readonly s_hat: number;
}
interface ReferenceRow {
  readonly row: number;
  readonly demonstrations: readonly number[];
  readonly responses: { readonly chosen: Sums; readonly rejected: Sums };
}

const f32Model = process.env["ICDPO_TEST_F32_MODEL"];
const everyRow = process.env["ICDPO_TEST_ROWS"] === "all";
const minutes = 60_000;

describe.skipIf(dataFolder === undefined)("sums of PyTorch in float32 (skipped without ICDPO_TEST_DATA)", () => {
  const gateways: Gateway[] = [];
  afterAll(() => Promise.all(gateways.map((gateway) => gateway.stop())));

  async function deviations(environment: Record<string, string>): Promise<{ sums: number; scores: number }> {
    const gateway = await startGateway(environment);
    gateways.push(gateway);
    const pairs = readPairs();
    const rows = JSON.parse(readFileSync(path.join(dataFolder ?? "", "reference-scores.json"), "utf8")) as ReferenceRow[];
    let sums = 0;
    let scores = 0;
    for (const { row, demonstrations, responses } of everyRow ? rows : rows.slice(0, 4)) {
      const pair = pairs[row] as (typeof pairs)[number];
      const { status, body } = await post(`${gateway.url}/v1/score`, {
        model: "icdpo",
        messages: pair.messages,
        completions: [pair.chosen, pair.rejected],
        demonstrations: demonstrations.map((index) => pairs[index]),
        prompt: "hh-rlhf",
      });
      expect(status, JSON.stringify(body)).toBe(200);
      const data = body["data"] as Scored[];
      for (const [index, expected] of [responses.chosen, responses.rejected].entries()) {
        const scored = data[index] as Scored;
        expect(scored.tokens).toBe(expected.tokens);
        for (const sum of ["positive", "negative", "base"] as const) sums = Math.max(sums, Math.abs(scored[sum] - expected[sum]));
        scores = Math.max(
          scores,
          Math.abs(scored.s - (expected.positive - expected.base)),
          Math.abs(scored.s_hat - (expected.positive - expected.negative)),
        );
      }
    }
    return { sums, scores };
  }

  it.skipIf(f32Model === undefined)(
    "an F32 copy agrees within 0.15 nat, S and Ŝ within 0.06 (skipped without ICDPO_TEST_F32_MODEL)",
    async () => {
      const { sums, scores } = await deviations({ ICDPO_MODEL: f32Model ?? "" });
      console.log(`F32: largest deviation of a sum ${sums.toFixed(4)} nat, of S and Ŝ ${scores.toFixed(4)}`);
      expect(sums).toBeLessThanOrEqual(0.15);
      expect(scores).toBeLessThanOrEqual(0.06);
    },
    20 * minutes,
  );

  it.runIf(everyRow)(
    "the quantised default model has the same token counts (deviations for information)",
    async () => {
      const { sums, scores } = await deviations({});
      console.log(`Q4_1: largest deviation of a sum ${sums.toFixed(4)} nat, of S and Ŝ ${scores.toFixed(4)}`);
    },
    20 * minutes,
  );
});
