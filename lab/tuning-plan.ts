/** @module What `icdpo tune` would do within its limit, before anything is sampled. */
import { mostCandidates, type PolicySettings } from "icdpo-gateway/laboratory";
import { promptsOfRung, rungsOf, tuningShare } from "./halving.ts";
import { fixed, markdownTable } from "./tables.ts";
import { startLabel } from "./variants.ts";

/** Of variants that share their samples. */
export interface PlannedGenerator {
  readonly labels: readonly string[];
  readonly settings: readonly PolicySettings[];
}

export interface PlanNeeds {
  readonly title: string;
  readonly generators: readonly PlannedGenerator[];
  readonly tuning: number;
  readonly heldOut: number;
  readonly minutes: number;
  readonly leftOut: number;
  /** Lines of a list. */
  readonly notes: readonly string[];
}

/** Seconds that a generator's samples for a prompt may take: the first prompt tells. */
const paces = [1, 5, 20] as const;

export function tuningPlan(needs: PlanNeeds): string {
  const { title, generators, tuning, heldOut, minutes, leftOut, notes } = needs;
  const policies = generators.reduce((sum, { settings }) => sum + settings.length, 0);
  const answers = generators.map(({ settings }) => sampledOf(settings));
  const all = answers.reduce((sum, count) => sum + count, 0);
  return `${[
    `# ${title}`,
    [
      `${policies} policies of ${generators.length} generators; combinations that no policy can have: ${leftOut}`,
      `${all} answers are sampled for a prompt of all generators`,
      `${tuning} prompts for tuning, ${heldOut} held out`,
      `${fixed(minutes * tuningShare, 0)} minutes for tuning, and ${fixed(minutes * (1 - tuningShare), 0)} for held-out prompts`,
      ...notes,
    ]
      .map((line) => `- ${line}`)
      .join("\n"),
    markdownTable({
      columns: ["generator", "policies", "answers a prompt"],
      rows: generators.map(({ labels, settings }, i) => [
        sharedLabel(labels),
        String(settings.length),
        String(answers[i]),
      ]),
    }),
    "Prompts so far at the end of each rung, if a generator takes so many seconds for a prompt (the first one tells):",
    markdownTable({
      columns: ["rung", "generators", ...paces.map((seconds) => `${seconds} s`)],
      rows: scheduleOf(generators.length, tuning, minutes).map(({ competing, prompts }, i) => [
        String(i + 1),
        String(competing),
        ...prompts.map(String),
      ]),
    }),
  ].join("\n\n")}\n`;
}

/** What all of them have in their labels; the start's has nothing. */
function sharedLabel([first = "", ...others]: readonly string[]): string {
  const shared = others.reduce<readonly string[]>(
    (parts, label) => parts.filter((part) => label.split("; ").includes(part)),
    first.split("; "),
  );
  return shared.length === 0 ? startLabel : shared.join("; ");
}

/** The most that one of them asks for: the others choose among them. */
function sampledOf(settings: readonly PolicySettings[]): number {
  return Math.max(...settings.map(({ candidates }) => mostCandidates(candidates)));
}

function scheduleOf(generators: number, available: number, minutes: number) {
  const rungs = rungsOf(generators);
  const seen = paces.map(() => ({ prompts: 0, left: tuningShare }));
  return Array.from({ length: rungs }, (_, rung) => {
    const competing = Math.ceil(generators / 2 ** rung);
    for (const [i, seconds] of paces.entries()) {
      const one = seen[i] as (typeof seen)[number];
      const cost = (competing * seconds) / 60 / minutes;
      const more = promptsOfRung({ left: one.left, cost, rungs: rungs - rung, available: available - one.prompts });
      one.prompts += more;
      one.left -= more * cost;
    }
    return { competing, prompts: seen.map(({ prompts }) => prompts) };
  });
}
