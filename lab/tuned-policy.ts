/** @module The policy file that `icdpo tune` writes: the chosen variant, and why it was chosen. */
import { withFields } from "icdpo-gateway/laboratory";
import type { TuningSummary } from "./tuning-summary.ts";
import type { Variant } from "./variants.ts";

/** The rule of `chosenOf`, in words. */
export const rule = "of those within one standard error of the best, plain or else the cheapest";

const schemaLine = "# yaml-language-server: $schema=policy.schema.json";
const columns = 118;

/** `name`: of the policy that the search started from. */
export function tunedPolicy(
  name: string,
  { label, text }: Variant,
  { measure, verdict, tuning, best }: TuningSummary,
): string {
  const described = withFields(text, { description: `${name}, tuned: ${label}` });
  const own = described.split("\n").filter((line) => !line.startsWith("# yaml-language-server:"));
  const why = [
    `Written by icdpo tune, from ${name}: ${rule}, by ${measure} on ${tuning.prompts} prompts (best: ${best}).`,
    ...verdict,
  ];
  return `${[schemaLine, ...wrapped(why.join(" ")).map((line) => `# ${line}`), ...own].join("\n").trimEnd()}\n`;
}

/** Lines that fit, parted between words. */
function wrapped(text: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/u)) {
    if (line !== "" && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return line === "" ? lines : [...lines, line];
}
