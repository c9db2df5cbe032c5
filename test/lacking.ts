/**
 * @module Says at the end of a run which tests were skipped, for want of what, and what brings it. `ICDPO_TEST_HAS`
 * (names, spaces between) says what this machine must have: a test that is skipped for want of nothing else fails the
 * run.
 */
import type { Reporter, TestModule, Vitest } from "vitest/node";
import { missingWorkerd, type Need, supplies } from "./needs.ts";

export interface Skipped {
  readonly name: string;
  readonly lacks: readonly Need[];
  /** The reason that a test gave itself. */
  readonly note?: string | undefined;
}

export interface SkippedReport {
  readonly lines: readonly string[];
  /** What must not be; none where `has` is empty. */
  readonly problems: readonly string[];
}

export function reportSkipped(skipped: readonly Skipped[], has: readonly string[]): SkippedReport {
  const counts = new Map<string, number>();
  for (const { lacks, note } of skipped)
    for (const reason of lacks.length > 0 ? lacks : [note ?? ""]) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  const lines = [...counts].map(([reason, count]) => {
    const supply = Object.hasOwn(supplies, reason) ? supplies[reason as Need] : undefined;
    return `${count} × ${reason || "without a reason"}${supply === undefined ? "" : ` (${supply.broughtBy})`}`;
  });
  const unknown = has
    .filter((name) => !Object.hasOwn(supplies, name))
    .map((name) => `ICDPO_TEST_HAS: no test needs "${name}"`);
  const lost = skipped.filter(({ lacks, note }) => lacks.every((need) => has.includes(need)) && note === undefined);
  return {
    lines,
    problems:
      has.length === 0
        ? []
        : [...unknown, ...lost.map(({ name }) => `skipped, though all it needs must be here: ${name}`)],
  };
}

/** Adds to the other reporters. */
export default class LackingReporter implements Reporter {
  #vitest: Vitest | undefined;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onTestRunEnd(modules: readonly TestModule[]): void {
    const { testNamePattern, project } = this.#vitest?.config ?? {};
    // What a pattern leaves out is skipped as well.
    if (testNamePattern !== undefined) return;
    const skipped: Skipped[] = modules.flatMap((module) =>
      [...module.children.allTests("skipped")].map((test) => {
        const result = test.result();
        return {
          name: `${module.relativeModuleId} > ${test.fullName}`,
          lacks: test.meta().lacks ?? [],
          note: result.state === "skipped" ? result.note : undefined,
        };
      }),
    );
    const isWhole = (project ?? []).length === 0;
    if (isWhole && missingWorkerd() !== null)
      skipped.push({ name: "the projects workerd and worker", lacks: ["workerd"] });
    const { lines, problems } = reportSkipped(skipped, process.env["ICDPO_TEST_HAS"]?.split(" ").filter(Boolean) ?? []);
    if (lines.length > 0) console.log(`\nSkipped, for want of:\n${lines.map((line) => `  ${line}\n`).join("")}`);
    for (const problem of problems) console.error(problem);
    if (problems.length > 0) process.exitCode = 1;
  }
}
