/** @module What is tested, and what is demonstrated: samples of data files, held apart. */
import path from "node:path";
import {
  candidateSeed,
  type Demonstration,
  dataName,
  detectFormat,
  type Engine,
  type Example,
  GatewayError,
  promptText,
  readExample,
  readRows,
  withoutSystemTurn,
} from "icdpo-gateway/laboratory";
import { shuffled } from "../statistics.ts";
import type { DataOptions } from "./options.ts";

export interface TestExample extends Example {
  /** `<label>-<line>` */
  readonly id: string;
  /** Decides every chance in its requests: the same for all arms. */
  readonly seed: number;
}

export interface TestSet {
  readonly label: string;
  readonly examples: readonly TestExample[];
}

export interface EvaluationData {
  readonly sets: readonly TestSet[];
  /** Null: the policies' own. */
  readonly demonstrations: readonly Demonstration[] | null;
  /** Sets of which some examples may not be tested, because they may be demonstrated. */
  readonly capped: readonly string[];
}

interface NumberedExample extends Example {
  readonly line: number;
}

/** Throws "invalid_request" where there is nothing to test, and where two sets have the same name. */
export async function readData(options: DataOptions, engine: Engine, signal: AbortSignal): Promise<EvaluationData> {
  const filter = new LengthFilter(options, engine, signal);
  const pools = await Promise.all(options.data.map((spec) => readPool(spec, options)));
  const labels = pools.map(({ label }) => label);
  const twice = labels.find((label, i) => labels.indexOf(label) !== i);
  // Pairs and answers are told apart by it.
  if (twice !== undefined)
    throw new GatewayError("invalid_request", `Two sets are called "${twice}": name them (--data name=file).`);
  const sets: TestSet[] = [];
  for (const { label, pool } of pools) {
    const examples = (await filter.first(pool, options.limit)).map((example) => ({
      ...example,
      id: `${label}-${example.line}`,
      seed: candidateSeed(options.seed, example.line),
    }));
    if (examples.length === 0)
      throw new GatewayError("invalid_request", `${label}: no example is short enough, or of a known format.`);
    sets.push({ label, examples });
  }
  const held = new Set(pools.flatMap(({ pool }) => pool.map(promptKey)));
  return {
    sets,
    demonstrations: await readDemonstrations(options, held, filter),
    capped: pools.filter(({ isCapped }) => isCapped).map(({ label }) => label),
  };
}

/** For a title. */
export function describeData(
  { maxPrompt, maxResponse, holdOut }: DataOptions,
  { demonstrations, capped }: Pick<EvaluationData, "demonstrations" | "capped">,
): string {
  const lengths = [
    ...(maxPrompt > 0 ? [`prompts of at most ${maxPrompt} tokens`] : []),
    ...(maxResponse > 0 ? [`responses of at most ${maxResponse}`] : []),
  ];
  const source =
    demonstrations === null
      ? "the policies' demonstrations"
      : `${demonstrations.length} demonstrations, none of them tested`;
  const cap = capped.length === 0 ? [] : [`of ${capped.join(", ")} at most ${holdOut} prompts tested (--hold-out)`];
  return [...lengths, source, ...cap].join(", ");
}

async function readDemonstrations(
  { demonstrationsFrom: file }: DataOptions,
  held: ReadonlySet<string>,
  filter: LengthFilter,
): Promise<readonly Demonstration[] | null> {
  if (file === undefined) return null;
  const free = (await readExamples(file)).filter((example) => !held.has(promptKey(example)));
  const kept = await filter.first(free, free.length);
  if (kept.length === 0)
    throw new GatewayError(
      "invalid_request",
      `${file}: nothing is left to demonstrate: its prompts may all be tested, or are too long. A smaller --hold-out leaves more of a file that is both.`,
    );
  return kept.map(({ line, messages, chosen, rejected, near }) => ({
    id: `line-${line}`,
    messages: withoutSystemTurn(messages),
    chosen,
    rejected,
    near,
  }));
}

interface Pool {
  readonly label: string;
  /** What may be tested of a file, in the order in which it is drawn. */
  readonly pool: readonly NumberedExample[];
  readonly isCapped: boolean;
}

/** Of a file that is demonstrated as well `holdOut` examples may be tested, of another all. */
async function readPool(spec: string, options: DataOptions): Promise<Pool> {
  const at = spec.indexOf("=");
  const file = spec.slice(at + 1);
  const label = at > 0 ? spec.slice(0, at) : dataName(file);
  const examples = (await readExamples(file)).filter(({ line }) => line > options.skip);
  const order = shuffled(examples.length, options.seed).map((index) => examples[index] as NumberedExample);
  const { demonstrationsFrom, holdOut } = options;
  const isBoth = demonstrationsFrom !== undefined && path.resolve(demonstrationsFrom) === path.resolve(file);
  const isCapped = isBoth && order.length > holdOut;
  return { label, pool: isCapped ? order.slice(0, holdOut) : order, isCapped };
}

/** Lines of known formats, each prompt with its responses once. */
async function readExamples(file: string): Promise<NumberedExample[]> {
  const examples: NumberedExample[] = [];
  const seen = new Set<string>();
  for await (const { number: line, value } of readRows(file)) {
    const format = detectFormat(value);
    const example = format === null ? { reason: "of no known format" } : readExample(format, value);
    const key = JSON.stringify(example);
    if (!("reason" in example) && !seen.has(key)) examples.push({ line, ...example });
    seen.add(key);
  }
  return examples;
}

function promptKey({ messages }: Example): string {
  return JSON.stringify(messages.map(({ role, content }) => [role, content]));
}

const tokenizePortion = 200;

class LengthFilter {
  readonly #limits: Pick<DataOptions, "maxPrompt" | "maxResponse">;
  readonly #engine: Engine;
  readonly #signal: AbortSignal;

  constructor(limits: Pick<DataOptions, "maxPrompt" | "maxResponse">, engine: Engine, signal: AbortSignal) {
    this.#limits = limits;
    this.#engine = engine;
    this.#signal = signal;
  }

  /** The first `limit` examples that are short enough; no more are tokenised than that takes. */
  async first<Item extends Example>(examples: readonly Item[], limit: number): Promise<Item[]> {
    const kept: Item[] = [];
    for (let start = 0; start < examples.length && kept.length < limit; start += tokenizePortion) {
      const portion = examples.slice(start, start + tokenizePortion);
      const lengths = async (text: (example: Item) => string): Promise<number[]> =>
        (await this.#engine.tokenize(portion.map(text), this.#signal)).map(({ length }) => length);
      const prompts = await lengths(({ messages }) => promptText(messages));
      const chosen = await lengths((example) => example.chosen);
      const rejected = await lengths((example) => example.rejected ?? "");
      const { maxPrompt, maxResponse } = this.#limits;
      const fits = (_: Item, i: number): boolean =>
        (maxPrompt === 0 || (prompts[i] as number) <= maxPrompt) &&
        (maxResponse === 0 || Math.max(chosen[i] as number, rejected[i] as number) <= maxResponse);
      kept.push(...portion.filter(fits));
    }
    return kept.slice(0, limit);
  }
}
