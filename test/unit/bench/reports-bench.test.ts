/** The benchmark of reports, with few answers: that it measures all that it says, not how long that takes. */
import { expect, it } from "vitest";
import { reportsBench } from "../../../bench/reports.ts";

it("measures reports, and writes with and without them", async () => {
  const said: string[] = [];
  const { signal } = new AbortController();
  const recorder = new URL("../../../bench/dist/recorded-answers.js", import.meta.url);
  const threads = new URL("../../../dist/records/thread/", import.meta.url);
  const { benchCase, close } = await reportsBench({
    answers: 3_000,
    report: (line) => said.push(line),
    signal,
    recorder,
    threads,
  });
  try {
    const measurements = await benchCase.run(0);
    expect(measurements.map(({ unit, against }) => [unit, against !== undefined])).toEqual([
      ["ms", false],
      ["ms", false],
      ["ms", true],
      ["ms", true],
      ["MB", false],
    ]);
    expect(measurements.every(({ name }) => !name.includes("a report") || name.includes("3,000 answers"))).toBe(true);
    for (const { value, against } of measurements)
      for (const figure of [value, against?.value ?? 0]) expect(figure).toBeGreaterThanOrEqual(0);
    expect(said).toEqual([]);
  } finally {
    await close();
  }
});
