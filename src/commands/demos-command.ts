/** @module `icdpo demos`: sets of demonstrations. */
import path from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { withoutSystemTurn } from "../demonstrations/chat-rows.ts";
import { dataFiles, dataName, readRows } from "../demonstrations/data-rows.ts";
import {
  type DatasetFormat,
  datasetFormats,
  detectFormat,
  type Example,
  readExample,
} from "../demonstrations/datasets.ts";
import { refuseToOverwrite, writeLines } from "../demonstrations/demonstration-files.ts";
import { openKeptEmbedder, openModelStore } from "../node/runtime.ts";
import { parseDemonstrations } from "../policy/parse.ts";
import { questionOf, questionTexts } from "../retrieval/question.ts";
import { readText } from "../system/text-files.ts";
import { type Demonstration, promptText } from "../types/conversation.ts";
import { cancelled, GatewayError } from "../types/error.ts";
import { negativesCommand } from "./negatives-command.ts";
import { harvestCommand, teachCommand } from "./teach-command.ts";
import { setFile, type World, withSignal, withTokenizer } from "./world.ts";

/** Tokens of prompt and response at most: the paper's filters (Appendix B); 0 is no limit. */
const limitsOf = (format: DatasetFormat): readonly [prompt: number, response: number] =>
  format === "synthetic-gpt" ? [128, 200] : [320, 128];
const tokenizePortion = 500;
const embedPortion = 50;

export function demosCommand(world: World): Command {
  return new Command("demos")
    .description("sets of demonstrations")
    .addCommand(importCommand(world))
    .addCommand(teachCommand(world))
    .addCommand(harvestCommand(world))
    .addCommand(negativesCommand(world))
    .addCommand(embedCommand(world))
    .addCommand(showCommand(world));
}

interface ImportOptions {
  readonly set?: string;
  readonly output?: string;
  readonly format: DatasetFormat | "auto";
  readonly maxPrompt?: number;
  readonly maxResponse?: number;
  readonly dropSystem?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
}

function importCommand(world: World): Command {
  return new Command("import")
    .description("make a set of demonstrations of published preference data; says what was dropped, and why")
    .argument(
      "<file>",
      `${dataFiles}: HH-RLHF, SyntheticGPT, the paper's lists, TRL's rows, OpenAI's and ShareGPT's chats, demonstrations`,
    )
    .option("--set <name>", "write demos/<name>.jsonl (default: the file's name)")
    .option("--output <file>", "write another file")
    .addOption(
      new Option("--format <format>", "the data's format").choices(["auto", ...datasetFormats]).default("auto"),
    )
    .option(
      "--max-prompt <tokens>",
      "longest prompt; 0: any (default: the paper's, 320 for HH-RLHF, 128 for SyntheticGPT)",
      count,
    )
    .option("--max-response <tokens>", "longest response; 0: any (default: the paper's, 128 and 200)", count)
    .option("--drop-system", "leave out system messages (default: they stand before the first question)")
    .option("--force", "write over a set that is there")
    .option("--json", "print the report as JSON")
    .action((file: string, options: ImportOptions) =>
      withTokenizer(world, async (engine, signal) => {
        const tokenCounts = async (texts: readonly string[]): Promise<number[]> =>
          (await engine.tokenize(texts, signal)).map(({ length }) => length);
        const name = options.set ?? dataName(file);
        const output = options.output ?? path.join(world.settings().demonstrationsDirectory, `${name}.jsonl`);
        await refuseToOverwrite(output, options.force);
        const { examples, dropped, lines } = await readDataset(file, options, tokenCounts, world.report);
        if (examples.length === 0)
          throw new GatewayError(
            "invalid_request",
            `${file} holds nothing that can be imported: ${reasons(dropped).join("; ")}`,
          );
        const source = path.basename(file);
        await writeLines(
          output,
          examples.map(({ line, example }) => ({ id: `${name}-${line}`, ...example, source })),
        );
        const report = { file: output, lines, kept: examples.length, dropped: Object.fromEntries(dropped) };
        const text = [`${lines} lines, ${examples.length} kept in ${output}`, ...reasons(dropped)].join("\n");
        process.stdout.write(`${options.json ? JSON.stringify(report) : text}\n`);
      }),
    );
}

function reasons(dropped: ReadonlyMap<string, number>): string[] {
  return [...dropped].toSorted(([, a], [, b]) => b - a).map(([reason, number]) => `dropped ${number}: ${reason}`);
}

interface Dataset {
  readonly examples: readonly { readonly line: number; readonly example: Example }[];
  /** Reason → how many. */
  readonly dropped: ReadonlyMap<string, number>;
  readonly lines: number;
}

async function readDataset(
  file: string,
  options: ImportOptions,
  tokenCounts: (texts: readonly string[]) => Promise<number[]>,
  report: World["report"],
): Promise<Dataset> {
  const found: { line: number; example: Example; format: DatasetFormat }[] = [];
  const dropped = new Map<string, number>();
  const drop = (reason: string): void => void dropped.set(reason, (dropped.get(reason) ?? 0) + 1);
  const seen = new Set<string>();
  let lines = 0;
  for await (const { number, value } of readRows(file)) {
    lines += 1;
    const format = options.format === "auto" ? detectFormat(value) : options.format;
    if (value === undefined) drop("not JSON");
    else if (format === null) drop("of no known format");
    else {
      const read = readExample(format, value);
      const example =
        "reason" in read ? read : { ...read, messages: withoutSystemTurn(read.messages, options.dropSystem) };
      const key = "reason" in example ? "" : JSON.stringify(example);
      if ("reason" in example) drop(example.reason);
      else if (seen.has(key)) drop("stands on an earlier line as well");
      else found.push({ line: number, example, format });
      seen.add(key);
    }
  }
  const examples: { line: number; example: Example }[] = [];
  for (let start = 0; start < found.length; start += tokenizePortion) {
    const portion = found.slice(start, start + tokenizePortion);
    const prompts = await tokenCounts(portion.map(({ example }) => promptText(example.messages)));
    const longest = await longestResponses(
      portion.map(({ example }) => example),
      tokenCounts,
    );
    for (const [i, { line, example, format }] of portion.entries()) {
      const maxPrompt = options.maxPrompt ?? limitsOf(format)[0];
      const maxResponse = options.maxResponse ?? limitsOf(format)[1];
      if (maxPrompt > 0 && (prompts[i] as number) > maxPrompt) drop(`the prompt has more than ${maxPrompt} tokens`);
      else if (maxResponse > 0 && (longest[i] as number) > maxResponse)
        drop(`a response has more than ${maxResponse} tokens`);
      else examples.push({ line, example });
    }
    if (start > 0 && start % (20 * tokenizePortion) === 0) report(`${start} of ${found.length} examples measured`);
  }
  return { examples, dropped, lines };
}

/** `[examples]`: tokens of the longest response of each, good or bad. */
async function longestResponses(
  examples: readonly Example[],
  tokenCounts: (texts: readonly string[]) => Promise<number[]>,
): Promise<number[]> {
  const responses = examples.map(({ chosen, rejected = "", near = [] }) => [chosen, rejected, ...near]);
  const counts = await tokenCounts(responses.flat());
  let end = 0;
  return responses.map(({ length }) => {
    end += length;
    return Math.max(...counts.slice(end - length, end));
  });
}

function embedCommand(world: World): Command {
  return new Command("embed")
    .description(
      "compute the sentence embeddings of a set's prompts, so that no request has to; can be interrupted and taken up",
    )
    .argument("<set>", "the set's name, or a file")
    .action((set: string) =>
      withSignal(async (signal) => {
        const demonstrations = await readSet(world, set);
        const settings = world.settings();
        const embedder = await openKeptEmbedder(settings, openModelStore(settings, world.report), world.report, signal);
        const texts = questionTexts(demonstrations.map(({ messages }) => questionOf(messages)));
        const started = performance.now();
        for (let start = 0; start < texts.length; start += embedPortion) {
          if (signal.aborted) throw cancelled(signal);
          await embedder.embedKept(texts.slice(start, start + embedPortion), signal);
          if (start > 0 && start % (20 * embedPortion) === 0) world.report(`${start} of ${texts.length}`);
        }
        process.stdout.write(
          `${demonstrations.length} prompts embedded in ${((performance.now() - started) / 1000).toFixed(1)} s\n`,
        );
      }),
    );
}

function showCommand(world: World): Command {
  return new Command("show")
    .description("what a set holds, or one of its demonstrations")
    .argument("<set>", "the set's name, or a file")
    .argument("[id]", "a demonstration's id")
    .option("--json", "print it as JSON")
    .action(async (set: string, id: string | undefined, { json }: { json?: boolean }) => {
      const demonstrations = await readSet(world, set);
      if (id === undefined) {
        const summary = describeSet(demonstrations);
        process.stdout.write(
          json
            ? `${JSON.stringify(summary)}\n`
            : `${Object.entries(summary)
                .map((entry) => entry.join(": "))
                .join("\n")}\n`,
        );
        return;
      }
      const found = demonstrations.find((one) => one.id === id);
      if (found === undefined)
        throw new GatewayError("invalid_request", `There is no demonstration "${id}" in ${set}.`);
      process.stdout.write(json ? `${JSON.stringify(found)}\n` : render(found));
    });
}

function describeSet(demonstrations: readonly Demonstration[]) {
  return {
    demonstrations: demonstrations.length,
    with_rejected: demonstrations.filter(({ rejected }) => rejected !== undefined).length,
    with_near: demonstrations.filter(({ near }) => near !== undefined).length,
    dialogues: demonstrations.filter(({ messages }) => messages.length > 1).length,
  };
}

function render({ id, messages, chosen, rejected, near = [] }: Demonstration): string {
  const turns = messages.map(({ role, content }) => `${role}: ${content}`);
  const worse = [...(rejected === undefined ? [] : [`- ${rejected}`]), ...near.map((text) => `~ ${text}`)];
  return `${[`# ${id}`, ...turns, `+ ${chosen}`, ...worse].join("\n\n")}\n`;
}

/** By name in the demonstrations' folder, or by path. Throws "configuration". */
async function readSet(world: World, set: string): Promise<readonly Demonstration[]> {
  const file = setFile(world, set);
  return parseDemonstrations(file, await readText(file));
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError("must be a whole number, 0 or more");
  return value;
}
