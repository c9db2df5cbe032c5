import { describe, expect, it } from "vitest";
import { tunedPolicy } from "../../../lab/tuned-policy.ts";
import { tuningPlan } from "../../../lab/tuning-plan.ts";
import { heldOutFigure, searchFigure, tuningReport } from "../../../lab/tuning-report.ts";
import { parseYaml } from "../../../src/policy/parse.ts";
import { policySchema } from "../../../src/policy/schema.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { measureOf, promptsOf, startPolicy, tuned } from "./scripted-tuning.ts";

/** Greedy answers are worth twice as much. */
const found = await tuned({
  engine: new ScriptedEngine({ sample: (_, __, { temperature }) => ({ text: temperature === 0 ? "yes" : "no" }) }),
  grid: "- sampling.temperature: [0]\n",
  policy: `# yaml-language-server: $schema=policy.schema.json\n${startPolicy}`,
  measure: measureOf((prompt, text) => (text === "yes" ? 1 : 0.5) + (prompt.length % 2) / 10),
  tuning: promptsOf(6),
  heldOut: [...promptsOf(20, "other"), ...promptsOf(4, "more").map((prompt) => ({ ...prompt, set: "few" }))],
});

describe("the report of tuning", () => {
  const report = { ...found.summary, title: "Tuning p", notes: ["a note"], leftOut: [{ label: "x", reason: "why" }] };
  const page = tuningReport(report);

  it("has the verdict, the comparisons on held-out prompts, the search, and what was left out", () => {
    expect(page).toContain("Chosen: sampling.temperature 0. It is better than plain: by 0.500 (0.500 … 0.500)");
    expect(page).toContain("| H1: sampling.temperature 0 > plain | 0.500");
    expect(page).toContain("### all prompts, 24 in number");
    expect(page).toContain("### few, 4 in number");
    expect(page).toMatch(/\| own: other \d+ \| 1\.\d00 \| 0\.\d00 \| 0\.\d00 \|/u);
    expect(page).toContain("| 1 | 1 | 6 | – |");
    expect(page).toContain("- 1: why");
    expect(page.split("\n")[2]).toContain("its gain over plain seemed 0.500, 0.000 more");
  });

  it("has two figures, which name the policies", () => {
    for (const figure of [heldOutFigure(report), searchFigure(report)]) {
      expect(figure).toMatch(/^<svg /u);
      expect(figure).toContain("sampling.temperature 0");
    }
  });
});

describe("the policy that tuning writes", () => {
  const text = tunedPolicy("p", found.compared.chosen, found.summary);

  it("is one that can be loaded, with the reason for it in lines that can be read", () => {
    const settings = parseYaml("tuned.yaml", text, policySchema);
    expect(settings).toMatchObject({ candidates: 1, shots: 2, sampling: { temperature: 0 }, score: { type: "none" } });
    expect(settings.description).toBe("p, tuned: sampling.temperature 0");
    const lines = text.split("\n");
    expect(lines[0]).toBe("# yaml-language-server: $schema=policy.schema.json");
    expect(lines.filter((line) => line.startsWith("# yaml-language-server"))).toHaveLength(1);
    expect(lines[1]).toMatch(/^# Written by icdpo tune, from p: of those within one standard error of the best/u);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(120);
    expect(text).toContain("better than plain");
  });
});

describe("the plan", () => {
  it("says what is sampled for a prompt, and what each rung asks at several paces", () => {
    const settings = parseYaml("p.yaml", startPolicy, policySchema);
    const generators = Array.from({ length: 4 }, (_, i) => ({
      labels: [`shots ${i}; candidates 1`, `shots ${i}; candidates 5`],
      settings: [settings, { ...settings, candidates: 5 }],
    }));
    const plan = tuningPlan({
      title: "Plan: p",
      generators,
      tuning: 90,
      heldOut: 60,
      minutes: 30,
      leftOut: 3,
      notes: [],
    });
    expect(plan).toContain("- 8 policies of 4 generators; combinations that no policy can have: 3");
    expect(plan).toContain("- 20 answers are sampled for a prompt of all generators");
    expect(plan).toContain("- 20 minutes for tuning, and 10 for held-out prompts");
    expect(plan).toContain("| shots 0 | 2 | 5 |");
    // Of 1,200 s two rungs have 600 each: 4 generators take 4, 20 or 80 s a prompt, then 2 take 2, 10 or 40.
    expect(plan).toContain("| 1 | 4 | 90 | 30 | 7 |");
    expect(plan).toContain("| 2 | 2 | 90 | 90 | 23 |");
  });
});
