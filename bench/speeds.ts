/**
 * @module The engine's three speeds (prefill, steps, scoring), beside llama.cpp's own benchmarks where their binaries
 * are given.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { type Engine, GatewayError, type Prompt, type Token } from "icdpo-gateway/laboratory";
import type { BenchCase, Measurement } from "./figures.ts";

export const contextTokens = 512;
export const responseTokens = 64;
const widths = [1, 3, 6] as const;
const execute = promisify(execFile);

/** Speeds of the round, from which floors are built. */
export interface Speeds {
  /** Tokens a second. */
  prefill: number;
  scoring: number;
  /** Seconds of one step, by the number of samples in it. */
  step: Map<number, number>;
}

export interface LlamaCpp {
  /** Folder with llama-batched-bench and llama-perplexity. */
  readonly folder: string;
  readonly modelPath: string;
  readonly threads: number;
}

/** Measures through the engine's interface, so that the child process and its messages count. */
export function speedCase(engine: Engine, text: string, speeds: Speeds, llamaCpp: LlamaCpp | undefined): BenchCase {
  return {
    name: "speeds",
    async run(round) {
      const [words = []] = await engine.tokenize([text]);
      const { end } = await engine.textPrompt("x");
      // The first tokens differ each time: nothing is in the cache.
      let fresh = round * 100;
      const prompt = (tokens: number): Prompt => ({
        tokens: [...freshTokens(words, fresh++), ...words.slice(0, tokens - 8)],
        end,
      });
      const own: Record<string, number> = {};

      const context = prompt(contextTokens);
      const prefillStart = performance.now();
      await drain(engine.score(context, [[end]]));
      speeds.prefill = contextTokens / seconds(prefillStart);
      own["prefill"] = speeds.prefill;

      const completions = [0, 1, 2].map((i) => words.slice(i * responseTokens, (i + 1) * responseTokens));
      const scoreStart = performance.now();
      await drain(engine.score(context, completions));
      speeds.scoring = (completions.length * responseTokens) / seconds(scoreStart);
      own["scoring"] = speeds.scoring;

      for (const width of widths)
        own[`decoding, ${width} together`] = await decodingSpeed(engine, context, width, speeds);
      const theirs: Record<string, number> = llamaCpp === undefined ? {} : await llamaCppSpeeds(llamaCpp, text);
      return Object.entries(own).map(([name, value]): Measurement => {
        const other = theirs[name];
        return {
          name,
          unit: "tokens/s",
          value,
          ...(other !== undefined && { against: { name: "llama.cpp's own", value: other } }),
        };
      });
    },
  };
}

function freshTokens(words: readonly Token[], salt: number): Token[] {
  return Array.from({ length: 8 }, (_, i) => words[(salt * 8 + i) % words.length] as Token);
}

/** Samples with their raw log-probabilities noted, after a context in the cache; counted until the first ends. */
async function decodingSpeed(engine: Engine, context: Prompt, width: number, speeds: Speeds): Promise<number> {
  const seeds = Array.from({ length: width }, (_, i) => i + 1);
  const request = { temperature: 1, topP: 0.8, topK: 50, maxTokens: responseTokens, stop: [], seeds, logprobs: true };
  let start = 0;
  let steps = 0;
  for await (const event of engine.sample(context, request)) {
    if (event.type === "prompt") start = performance.now();
    if (event.type !== "done") continue;
    steps = event.sample.endLogprobs.length;
    break;
  }
  const taken = seconds(start);
  speeds.step.set(width, taken / steps);
  return (width * steps) / taken;
}

async function llamaCppSpeeds({ folder, modelPath, threads }: LlamaCpp, text: string): Promise<Record<string, number>> {
  const common = ["-m", modelPath, "-t", String(threads), "-b", "512", "-ub", "512"];
  const shape = [
    "-c",
    "8192",
    "-npp",
    String(contextTokens),
    "-ntg",
    String(responseTokens),
    "-npl",
    widths.join(","),
    "-pps",
  ];
  const bench = await execute(path.join(folder, "llama-batched-bench"), [
    ...common,
    ...shape,
    "--output-format",
    "jsonl",
  ]);
  const lines = bench.stdout.split("\n").filter((line) => line.startsWith("{"));
  const results = lines.map((line) => JSON.parse(line) as { pl: number; speed_pp: number; speed_tg: number });
  const decoding = results.map(({ pl, speed_tg }) => [`decoding, ${pl} together`, speed_tg] as const);
  return {
    prefill: results[0]?.speed_pp ?? Number.NaN,
    ...Object.fromEntries(decoding),
    scoring: await perplexitySpeed(folder, common, text),
  };
}

/** With a stride it takes the logits of every token, as scoring does. */
async function perplexitySpeed(folder: string, common: readonly string[], text: string): Promise<number> {
  const work = await mkdtemp(path.join(tmpdir(), "icdpo-bench-"));
  try {
    const file = path.join(work, "text");
    await writeFile(file, text);
    const shape = ["-f", file, "-c", "512", "--ppl-stride", "256", "--chunks", "2"];
    const { stdout, stderr } = await execute(path.join(folder, "llama-perplexity"), [...common, ...shape]);
    const said = stdout + stderr;
    const [, tokens] = /n_ctx=(\d+)/u.exec(said) ?? [];
    const [, seconds] = /([\d.]+) seconds per pass/u.exec(said) ?? [];
    if (tokens === undefined || seconds === undefined)
      throw new GatewayError("configuration", `llama-perplexity did not tell its speed:\n${said}`);
    return Number(tokens) / Number(seconds);
  } finally {
    await rm(work, { recursive: true });
  }
}

async function drain(events: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of events);
}

function seconds(since: number): number {
  return (performance.now() - since) / 1000;
}
