/** @module Options that the evaluations share. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { dataFiles, GatewayError, type PromptFormat, promptFormats, whole } from "icdpo-gateway/laboratory";

export interface RunOptions {
  readonly policy: readonly string[];
  readonly prompt?: PromptFormat;
  readonly seed: number;
  readonly concurrency: number;
  readonly out?: string;
  readonly json?: boolean;
}

export interface DataOptions {
  readonly data: readonly string[];
  readonly limit: number;
  readonly skip: number;
  readonly seed: number;
  readonly maxPrompt: number;
  readonly maxResponse: number;
  readonly demonstrationsFrom?: string;
  readonly holdOut: number;
}

/** `policies`: what is used where none is named; `meaning`: what they are for. */
export function addRunOptions(
  command: Command,
  policies: readonly string[],
  meaning = "policies, the arms; several with commas or again",
): Command {
  return command
    .addOption(new Option("--policy <names>", meaning).argParser(names).default([], policies.join(",")))
    .addOption(new Option("--prompt <format>", "prompt format (default: the policy's)").choices(promptFormats))
    .option("--seed <number>", "decides the sample of the data, the answers and random demonstrations", count, 0)
    .option("--concurrency <number>", "how many at once", whole, 2)
    .option("--out <folder>", "results, and what a run that was killed is taken up from (default: eval/<command>)")
    .option("--json", "print the figures as JSON");
}

export function addDataOptions(command: Command, limit: number): Command {
  return command
    .addOption(
      new Option(
        "--data <label=file>",
        `${dataFiles}: whatever \`demos import\` takes; again for another column (harmless=…, helpful=…)`,
      )
        .argParser((text: string, before: readonly string[]) => [...before, text])
        .default([]),
    )
    .option("--limit <number>", "of each file, a sample without replacement", whole, limit)
    .option("--skip <number>", "leave out so many lines at the beginning of each file", count, 0)
    .option(
      "--max-prompt <tokens>",
      "longest prompt; 0: any (the paper's: 320 for HH-RLHF, 128 for SyntheticGPT)",
      count,
      320,
    )
    .option("--max-response <tokens>", "longest response; 0: any (the paper's: 128 and 200)", count, 128)
    .option(
      "--demonstrations-from <file>",
      "demonstrations of the policies, instead of their own; what may be tested is held out",
    )
    .option(
      "--hold-out <number>",
      "of a data file that --demonstrations-from names too: so many may be tested, the rest may be demonstrated",
      whole,
      500,
    );
}

/** Before anything is begun. Throws "invalid_request". */
export function requireData({ data }: Pick<DataOptions, "data">): void {
  if (data.length === 0)
    throw new GatewayError("invalid_request", "What is to be tested? Name a file with --data (label=file).");
}

function names(text: string, before: readonly string[]): readonly string[] {
  return [...before, ...text.split(",").map((name) => name.trim())].filter((name) => name !== "");
}

export function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError("must be a whole number, 0 or more");
  return value;
}

/** `0,1,2` */
export function counts(text: string): readonly number[] {
  return text.split(",").map((part) => count(part.trim()));
}
