/** @module `icdpo demos negatives`: a model's own plain answers as a set's worse ones. */
import path from "node:path";
import { Command, Option } from "commander";
import type { z } from "zod";
import { inOrder } from "../async/in-order.ts";
import { type Journal, openJournal, refuseToOverwrite, writeLines } from "../demonstrations/demonstration-files.ts";
import { type NearNegatives, nearNegatives, type PlainPrompt } from "../demonstrations/near-negatives.ts";
import { icdpo } from "../icdpo/pipeline.ts";
import { candidateSeed } from "../icdpo/seed.ts";
import type { ModelRuntime } from "../node/runtime.ts";
import { demonstrationSchema, mostNearNegatives } from "../policy/demonstration-schema.ts";
import { defaultEngine } from "../policy/engines-file.ts";
import { parseDemonstrations } from "../policy/parse.ts";
import type { Policy } from "../policy/policy.ts";
import { boundedSampling } from "../policy/policy-sampling.ts";
import { policySchema } from "../policy/schema.ts";
import { locked } from "../system/file-lock.ts";
import { readText } from "../system/text-files.ts";
import { sha256Hex } from "../text/bytes.ts";
import { splitLines } from "../text/lines.ts";
import { GatewayError } from "../types/error.ts";
import { whole } from "./endpoint-options.ts";
import { setFile, type World, withModels } from "./world.ts";

interface NegativesOptions {
  readonly output?: string;
  readonly as: "near" | "rejected";
  readonly samples: number;
  readonly maxTokens: number;
  readonly engine: string;
  readonly limit?: number;
  readonly seed: number;
  readonly concurrency: number;
  readonly force?: boolean;
}

export function negativesCommand(world: World): Command {
  return new Command("negatives")
    .description(
      "have a model answer a set's prompts plainly, and keep its answers as near negatives, for policies whose score says negative: near; can be killed and taken up",
    )
    .argument("<set>", "the set's name, or a file")
    .option("--output <file>", "write another file (default: the set's own, which --force allows)")
    .addOption(
      new Option("--as <field>", "near: beside the rejected responses that are there; rejected: in their place")
        .choices(["near", "rejected"])
        .default("near"),
    )
    .option("--samples <number>", `different answers to each prompt, ${mostNearNegatives} at most`, whole, 1)
    .option("--max-tokens <number>", "longest answer; of one that is cut off, the whole sentences are kept", whole, 128)
    .option("--engine <name>", "what answers: a name from the engines file", defaultEngine)
    .option("--limit <number>", "the first so many of the set; the others are left out of --output", whole)
    .option("--seed <number>", "decides the answers", whole, 1)
    .option("--concurrency <number>", "prompts at once", whole, 4)
    .option("--force", "write over a file that is there")
    .action(async (set: string, options: NegativesOptions) => {
      const file = setFile(world, set);
      const rows = await readRows(file);
      const output = options.output ?? file;
      refuse(options, path.resolve(output) === path.resolve(file));
      await locked(`${output}.lock`, world.report, async () => {
        await refuseToOverwrite(output, options.force);
        await withModels(world, (models, stop) =>
          run(world, models, rows.slice(0, options.limit), output, options, stop),
        );
      });
    });
}

/** What does not go together. Throws "invalid_request". */
function refuse({ as: field, samples, limit }: NegativesOptions, writesItself: boolean): void {
  if (samples > mostNearNegatives)
    throw new GatewayError("invalid_request", `A demonstration holds ${mostNearNegatives} near negatives at most.`);
  if (field === "rejected" && samples > 1)
    throw new GatewayError("invalid_request", "There is one rejected response: --as rejected takes one sample.");
  if (limit !== undefined && writesItself)
    throw new GatewayError("invalid_request", "--limit leaves the set's others out: name another file with --output.");
}

/** A line of the set, with what the gateway does not need. */
type Row = z.output<typeof demonstrationSchema>;

/** Throws "configuration" with the line that is wrong. */
async function readRows(file: string): Promise<Row[]> {
  const text = await readText(file);
  await parseDemonstrations(file, text);
  const lines = splitLines(text).filter((line) => line.trim() !== "");
  return lines.map((line) => demonstrationSchema.parse(JSON.parse(line)));
}

async function run(
  world: World,
  models: ModelRuntime,
  rows: readonly Row[],
  output: string,
  options: NegativesOptions,
  stop: AbortSignal,
): Promise<void> {
  const policy = await plainPolicy(models, options);
  const prompts = rows.map((row): PlainPrompt => ({ ...row, id: `${row.id}-${fingerprint(row, policy, options)}` }));
  const journal = await openJournal<NearNegatives>(`${output}.journal`);
  let isWritten = false;
  try {
    const made = await answerAll(world, policy, prompts, journal, options, stop);
    const negatives = prompts.flatMap(({ id }) => made.get(id) ?? []);
    if (negatives.length < prompts.length) {
      world.report(`Stopped after ${negatives.length} of ${prompts.length}; the same command goes on.`);
      process.exitCode = interruptedExitCode;
      return;
    }
    if (negatives.every(({ near }) => near.length === 0))
      throw new GatewayError("invalid_request", `No answer can be used, and ${output} is not written.`);
    await writeLines(
      output,
      rows.map((row, i) => withNegatives(row, negatives[i]?.near ?? [], options.as)),
    );
    isWritten = true;
    process.stdout.write(summary(rows, negatives, output, options));
  } finally {
    await (isWritten ? journal.remove() : journal.close());
  }
}

/** A model without the method, as `policies/plain.yaml` samples. */
async function plainPolicy(models: ModelRuntime, { engine: name, maxTokens }: NegativesOptions): Promise<Policy> {
  const engine = await models.whenReachable(() => models.engines.open({ engine: name }));
  const { model, capabilities } = await engine.info();
  const sampler = { engine, format: capabilities.chat ? ("chat" as const) : ("hh-rlhf" as const) };
  return {
    name: "plain",
    id: "plain",
    settings: policySchema.parse({ candidates: 1, score: { type: "none" }, sampling: { max_tokens: maxTokens } }),
    goesOn: true,
    sampler,
    scorer: sampler,
    reference: null,
    demonstrations: [],
    retriever: null,
    source: { demonstrations: "", model },
  };
}

/** Those of all prompts, by id, unless it was stopped. What was answered is in the journal, whatever happens. */
async function answerAll(
  { report }: World,
  policy: Policy,
  prompts: readonly PlainPrompt[],
  journal: Journal<NearNegatives>,
  { samples, concurrency }: NegativesOptions,
  stop: AbortSignal,
): Promise<ReadonlyMap<string, NearNegatives>> {
  if (journal.damaged > 0)
    report(`${journal.damaged} lines of the journal are damaged: what they say is answered anew`);
  const asked = new Set(prompts.map(({ id }) => id));
  const known = new Map(journal.entries.filter(({ id }) => asked.has(id)).map((entry) => [entry.id, entry]));
  const sampling = boundedSampling(policy.settings);
  const answer = async ({ id, messages }: PlainPrompt, answers: number, round: number) => {
    const seed = candidateSeed(Number.parseInt(id.slice(-fingerprintDigits), 16), round);
    const now = () => performance.now();
    return (await icdpo(policy, { conversation: messages, sampling, answers, seed, now })).ranked;
  };
  const onProgress = (done: number): void => {
    if (done % 10 === 0 || done === prompts.length) report(`${done} of ${prompts.length} prompts answered`);
  };
  const inTurn = inOrder();
  const note = (negatives: NearNegatives): Promise<void> => inTurn(() => journal.add(negatives));
  try {
    return await nearNegatives(prompts, { samples, concurrency, known, answer, note, onProgress, stop });
  } catch (error) {
    report("What was answered is kept; the same command goes on.");
    throw error;
  }
}

const interruptedExitCode = 130;
/** 32 bits, which also decide what is sampled. */
const fingerprintDigits = 8;

/** Of all that the answers to a prompt depend on: another model, or other settings, are other answers. */
function fingerprint(
  { id, messages, chosen }: Row,
  { source, sampler, settings }: Policy,
  { samples, seed }: NegativesOptions,
): string {
  const parts = [id, messages, chosen, source.model, sampler.format, settings.sampling, samples, seed];
  return sha256Hex(JSON.stringify(parts)).slice(0, fingerprintDigits);
}

/** The demonstration with these; without any it stays as it is. */
function withNegatives({ source, ...row }: Row, near: readonly string[], field: NegativesOptions["as"]): Row {
  const [first] = near;
  if (first === undefined) return { ...row, source };
  return { ...row, ...(field === "near" ? { near: [...near] } : { rejected: first }), source };
}

function summary(
  rows: readonly Row[],
  negatives: readonly NearNegatives[],
  output: string,
  { maxTokens }: NegativesOptions,
): string {
  const total = negatives.reduce((sum, { near }) => sum + near.length, 0);
  const cut = negatives.reduce((sum, one) => sum + one.cut, 0);
  const without = rows.flatMap(({ id }, i) => (negatives[i]?.near.length === 0 ? [id] : []));
  const lines = [
    `${rows.length} demonstrations in ${output}, ${total} near negatives, ${cut} of them cut off at ${maxTokens} tokens and kept to a whole sentence`,
    ...(without.length === 0 ? [] : [`nothing that was said can be used for ${without.length}: ${without.join(", ")}`]),
  ];
  return `${lines.join("\n")}\n`;
}
