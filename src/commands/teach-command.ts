/** @module `icdpo demos teach` and `icdpo demos harvest`: demonstrations borrowed from a teacher. */
import { createHash } from "node:crypto";
import path from "node:path";
import { Command, Option } from "commander";
import { inOrder } from "../async/in-order.ts";
import { withoutSystemTurn } from "../demonstrations/chat-rows.ts";
import { dataFiles, readRows } from "../demonstrations/data-rows.ts";
import { detectFormat, readExample, withoutThoughts } from "../demonstrations/datasets.ts";
import { type Journal, openJournal, refuseToOverwrite, writeLines } from "../demonstrations/demonstration-files.ts";
import { type Lesson, type TaughtLesson, teach } from "../demonstrations/teach.ts";
import { costOf, openTeacher } from "../demonstrations/teacher.ts";
import { icdpo } from "../icdpo/pipeline.ts";
import { plainly } from "../policy/bypass.ts";
import { boundedSampling } from "../policy/policy-sampling.ts";
import { Database } from "../records/libsql-records.ts";
import { locked } from "../system/file-lock.ts";
import { withoutThought } from "../text/without-thought.ts";
import type { Message } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import {
  addEndpointOptions,
  addPriceOptions,
  type EndpointOptions,
  endpointKey,
  type Priced,
  whole,
} from "./endpoint-options.ts";
import { type World, withRuntime, withSignal } from "./world.ts";

interface TeachCommandOptions extends EndpointOptions, Priced {
  readonly set?: string;
  readonly output?: string;
  readonly system?: string;
  readonly rejected: "original" | "kept" | "base" | "none";
  readonly dryRun?: boolean;
  readonly force?: boolean;
}

export function teachCommand(world: World): Command {
  const command = new Command("teach")
    .description(
      "ask a better model for answers, and keep them as demonstrations; can be killed and taken up without paying twice",
    )
    .argument(
      "<prompts>",
      `${dataFiles}: demonstrations, preference data, or rows of {messages} that end with a user's turn`,
    )
    .option("--set <name>", "write demos/<name>.jsonl")
    .option("--output <file>", "write another file")
    .option("--system <text>", "a system message for the teacher")
    .addOption(
      new Option(
        "--rejected <which>",
        "what becomes the rejected response: the prompt's own answer (of preference data the chosen one), the data's rejected one, one of the gateway's model, or nothing",
      )
        .choices(["original", "kept", "base", "none"])
        .default("original"),
    )
    .option("--dry-run", "say what would be asked, and what it would cost at most")
    .option("--force", "write over a file that is there");
  return addPriceOptions(addEndpointOptions(command)).action(async (prompts: string, options: TeachCommandOptions) => {
    if ((options.set === undefined) === (options.output === undefined))
      throw new GatewayError("invalid_request", "Either --set or --output is needed: where the demonstrations go.");
    const output = options.output ?? path.join(world.settings().demonstrationsDirectory, `${options.set}.jsonl`);
    await run(world, await readLessons(prompts, options.rejected === "kept"), output, options);
  });
}

interface HarvestOptions extends EndpointOptions, Priced {
  readonly output: string;
  readonly days: number;
  readonly limit: number;
  readonly system?: string;
  readonly dryRun?: boolean;
  readonly force?: boolean;
}

export function harvestCommand(world: World): Command {
  const command = new Command("harvest")
    .description(
      "have the teacher answer what was rated badly (where texts are recorded); writes demonstrations to be reviewed",
    )
    .option(
      "--output <file>",
      "what to write; move its lines into a set of demos/ when you have read them",
      "harvest.review.jsonl",
    )
    .option("--days <number>", "how far to look back", whole, 30)
    .option("--limit <number>", "how many answers at most, the newest first", whole, 200)
    .option("--system <text>", "a system message for the teacher")
    .option("--dry-run", "say what would be asked, and what it would cost at most")
    .option("--force", "write over a file that is there");
  return addPriceOptions(addEndpointOptions(command)).action(async (options: HarvestOptions) => {
    const lessons = await badlyRated(world, options);
    if (lessons.length === 0) {
      world.report("Nothing was rated badly whose text was recorded (ICDPO_KEEP_TEXT=1 records texts).");
      return;
    }
    await run(world, lessons, options.output, { ...options, rejected: "original" });
  });
}

type RunOptions = Omit<TeachCommandOptions, "set" | "output">;

/** Alone: two that write the same file would pay for every answer twice. */
function run(world: World, lessons: readonly Lesson[], output: string, options: RunOptions): Promise<void> {
  return locked(`${output}.lock`, world.report, () => runAlone(world, lessons, output, options));
}

async function runAlone(world: World, lessons: readonly Lesson[], output: string, options: RunOptions): Promise<void> {
  await refuseToOverwrite(output, options.force);
  // The journal belongs to what is asked: another teacher, or another prompt, is another call.
  const named = lessons.map((lesson) => ({ ...lesson, id: `${lesson.id}-${fingerprint(lesson, options)}` }));
  const journal = await openJournal<TaughtLesson>(`${output}.journal`);
  if (journal.damaged > 0)
    world.report(`${journal.damaged} lines of ${output}.journal are cut short or damaged: what they say is asked anew`);
  const known = new Map(journal.entries.flatMap((entry) => (entry.text === "" ? [] : [[entry.id, entry] as const])));
  if (options.dryRun) {
    process.stdout.write(forecast(named, known, options));
    return known.size === 0 ? journal.remove() : journal.close();
  }
  const answers = await askAll(world, named, journal, known, options);
  if (answers === null) {
    process.exitCode = interruptedExitCode;
    return;
  }
  const base = options.rejected === "base" ? await baseAnswers(world, lessons) : null;
  const dropped = new Map<string, number>();
  const demonstrations = lessons.flatMap(({ id, messages, original }, i) => {
    const { text, finish } = answers.get(named[i]?.id ?? "") as TaughtLesson;
    const rejected = options.rejected === "none" ? undefined : base === null ? original : base.get(id);
    const problem = unusable(text, finish, rejected);
    if (problem !== null) dropped.set(problem, (dropped.get(problem) ?? 0) + 1);
    return problem === null
      ? [{ id, messages, chosen: text, ...(rejected ? { rejected } : {}), source: options.model }]
      : [];
  });
  for (const [reason, number] of dropped) process.stdout.write(`dropped ${number}: ${reason}\n`);
  if (demonstrations.length === 0) {
    await journal.close();
    throw new GatewayError("invalid_request", `No demonstration is left, and ${output} is not written.`);
  }
  await writeLines(output, demonstrations);
  await journal.remove();
  process.stdout.write(`${demonstrations.length} demonstrations in ${output}\n`);
}

/** What would be asked, and what it would cost at most. */
function forecast(named: readonly Lesson[], known: ReadonlyMap<string, TaughtLesson>, options: RunOptions): string {
  const asked = named.filter(({ id }) => !known.has(id));
  const promptTokens = Math.ceil(
    asked.reduce((sum, { messages }) => sum + JSON.stringify(messages).length, 0) / charactersPerToken,
  );
  const most = costOf(pricesOf(options), { promptTokens, completionTokens: asked.length * options.maxTokens });
  return `${asked.length} of ${named.length} prompts would be asked, about ${promptTokens} prompt tokens, at most ${most.toFixed(4)}\n`;
}

/** Null where it was stopped before all were answered. What was answered is in the journal, whatever happens. */
async function askAll(
  world: World,
  named: readonly Lesson[],
  journal: Journal<TaughtLesson>,
  known: ReadonlyMap<string, TaughtLesson>,
  options: RunOptions,
): Promise<ReadonlyMap<string, TaughtLesson> | null> {
  const { system, concurrency, baseUrl: baseURL } = options;
  const teacher = openTeacher({ ...options, baseURL, apiKey: endpointKey(options), report: world.report });
  let spent = 0;
  const inTurn = inOrder();
  const note = (lesson: TaughtLesson): Promise<void> => inTurn(() => journal.add(lesson));
  const onProgress = (done: number, lesson: TaughtLesson): void => {
    spent += costOf(pricesOf(options), lesson);
    if (done % 10 === 0 || done === named.length)
      world.report(`${done} of ${named.length}, ${spent.toFixed(4)} spent in this run`);
  };
  try {
    const answers = await withSignal((stop) =>
      teach(named, { teacher, system, concurrency, known, note, onProgress, stop }),
    );
    if (named.every(({ id }) => answers.has(id))) return answers;
    world.report(`Stopped after ${answers.size} of ${named.length}; the same command goes on.`);
  } catch (error) {
    world.report("What was answered is kept; the same command goes on.");
    await journal.close();
    throw error;
  }
  await journal.close();
  return null;
}

function pricesOf({ inputPrice: input, outputPrice: output }: Priced) {
  return { input, output };
}

const interruptedExitCode = 130;
const charactersPerToken = 4;

function unusable(text: string, finish: string, rejected: string | undefined): string | null {
  if (finish === "refused") return "the endpoint refused the prompt";
  if (finish === "length") return "the teacher's answer was cut off (--max-tokens)";
  if (text === "") return "the teacher said nothing";
  return text === rejected ? "the teacher said the same" : null;
}

function fingerprint(
  { messages }: Lesson,
  {
    baseUrl,
    model,
    system,
    maxTokens,
    temperature,
  }: Pick<TeachCommandOptions, "baseUrl" | "model" | "system" | "maxTokens" | "temperature">,
): string {
  return createHash("sha256")
    .update(JSON.stringify([messages, baseUrl, model, system ?? null, maxTokens, temperature ?? null]))
    .digest("hex")
    .slice(0, 12);
}

/**
 * Lines of demonstrations or datasets, whose chosen response is the original, or where `keepsRejected` the rejected one;
 * or of {messages} alone.
 */
async function readLessons(file: string, keepsRejected: boolean): Promise<Lesson[]> {
  const lessons: Lesson[] = [];
  for await (const { number, value } of readRows(file)) {
    const format = detectFormat(value);
    const id = hasId(value) ? value.id : `line-${number}`;
    const complaint = (reason: string) => new GatewayError("invalid_request", `${file}:${number}: ${reason}`);
    const bare = format === "openai-chat" || format === null ? bareMessages(value) : null;
    if (bare !== null) {
      if (keepsRejected) throw complaint(nothingKept);
      lessons.push({ id, messages: bare });
      continue;
    }
    if (format === null)
      throw complaint("neither a demonstration, nor preference data, nor {messages} that end with a user's turn");
    const example = readExample(format, value);
    if ("reason" in example) throw complaint(example.reason);
    if (keepsRejected && example.rejected === undefined) throw complaint(nothingKept);
    lessons.push({
      id,
      messages: withoutSystemTurn(example.messages),
      original: keepsRejected ? example.rejected : example.chosen,
    });
  }
  const ids = lessons.map(({ id }) => id);
  const twice = ids.find((id, i) => ids.indexOf(id) !== i);
  if (twice !== undefined) throw new GatewayError("invalid_request", `${file}: the id "${twice}" stands on two lines.`);
  if (lessons.length === 0) throw new GatewayError("invalid_request", `${file}: holds no prompt.`);
  return lessons;
}

const nothingKept = "has no rejected response, which --rejected kept needs";

function hasId(value: unknown): value is { readonly id: string } {
  return (
    typeof value === "object" && value !== null && "id" in value && typeof value.id === "string" && value.id !== ""
  );
}

/** `messages` that end with a user's turn. */
function bareMessages(value: unknown): Message[] | null {
  const { messages } = (value ?? {}) as { messages?: unknown };
  const turn = (one: unknown): one is Message =>
    typeof one === "object" &&
    one !== null &&
    "role" in one &&
    "content" in one &&
    typeof one.content === "string" &&
    one.content !== "";
  if (!Array.isArray(messages) || !messages.every(turn)) return null;
  const dialogue = withoutSystemTurn(messages);
  const isDialogue = dialogue.every(({ role }) => role === "user" || role === "assistant");
  if (!isDialogue || dialogue.at(-1)?.role !== "user") return null;
  const turns = withoutThoughts(dialogue);
  return turns.every(({ content }) => content !== "") ? turns : null;
}

async function badlyRated(world: World, { days, limit }: HarvestOptions): Promise<Lesson[]> {
  const { databaseUrl: url, ICDPO_DATABASE_TOKEN: authToken } = world.settings();
  if (url === null) throw new GatewayError("configuration", "This gateway keeps no records (ICDPO_DATABASE=off).");
  const database = await Database.open({ url, authToken });
  try {
    const since = Date.now() - days * 24 * 60 * 60 * 1000;
    const answers = await database.texts({ since, ratingAtMost: 0, limit });
    return answers.flatMap(({ id, request, answers: given }) => {
      const messages = (request as Message[]).filter(({ role }) => role === "user" || role === "assistant");
      const original = withoutThought((given as { content: string | null }[])[0]?.content ?? "");
      const turns = withoutThoughts(messages.map(({ role, content }) => ({ role, content })));
      return original && turns.at(-1)?.role === "user" && turns.every(({ content }) => content !== "")
        ? [{ id, messages: turns, original }]
        : [];
    });
  } finally {
    database.close();
  }
}

/** What the gateway's own model says, plainly. */
async function baseAnswers(world: World, lessons: readonly Lesson[]): Promise<Map<string, string>> {
  return withRuntime(world, async ({ policies }, signal) => {
    const [route] = policies.current.routes.values();
    if (route === undefined)
      throw new GatewayError("configuration", "There is no route, and so no sampling settings to use.");
    const policy = plainly(route.policy);
    const sampling = boundedSampling(policy.settings);
    const answers = new Map<string, string>();
    for (const [seed, { id, messages }] of lessons.entries()) {
      const { ranked } = await icdpo(policy, {
        conversation: messages,
        sampling,
        answers: 1,
        seed,
        now: () => performance.now(),
        signal,
      });
      answers.set(id, withoutThought(ranked[0]?.text ?? ""));
      if (answers.size % 10 === 0) world.report(`${answers.size} of ${lessons.length} answers of the model itself`);
    }
    return answers;
  });
}
