/** @module How fast a short prompt and a few steps are with each number of threads: measured when a model is loaded. */
import type { NativeContext } from "./native-context.ts";

export interface MeasuredThreads {
  /** With which it was fastest. */
  readonly threads: number;
  /** Prompt tokens a second, with so many threads. */
  readonly prefillSpeed: number;
  /** States can be cut to a beginning. */
  readonly rewinds: boolean;
  readonly why: string;
}

interface Speed {
  readonly threads: number;
  /** Tokens a second. */
  readonly prefill: number;
  readonly decode: number;
  readonly ms: number;
}

const measuredPrompt = 64;
const measuredSteps = 8;

/** All the cores that are good at arithmetic, half of them, and so on: a container may be given less than it sees. */
export function halves(cores: number): number[] {
  return cores <= 1 ? [1] : [cores, ...halves(Math.floor(cores / 2))];
}

/**
 * Times a short prompt and a few steps with each number of threads; the fastest stays. Then tries whether their state
 * can be cut.
 */
export async function measureThreads(context: NativeContext, choices: readonly number[]): Promise<MeasuredThreads> {
  await measure(context, choices[0] as number); // touches the weights for the first time
  const measured: Speed[] = [];
  for (const threads of choices) measured.push(await measure(context, threads));
  const best = measured.reduce((a, b) => (b.ms < a.ms ? b : a));
  context.setThreads(best.threads);
  // A recurrent state is that after its last token, and no other: llama.cpp then refuses.
  const rewinds = context.removeTokenCellsFromSequence(0, 1, -1);
  context.disposeSequence(0);
  const figures = measured.map(
    ({ threads, prefill, decode }) => `${threads}: ${prefill.toFixed(0)} prompt, ${decode.toFixed(0)} decoded tokens/s`,
  );
  return { threads: best.threads, prefillSpeed: best.prefill, rewinds, why: `threads ${figures.join("; ")}` };
}

async function measure(context: NativeContext, threads: number): Promise<Speed> {
  context.setThreads(threads);
  context.disposeSequence(0);
  const start = performance.now();
  await decode(context, 0, measuredPrompt);
  const prefilled = performance.now();
  for (let step = 0; step < measuredSteps; step++) await decode(context, measuredPrompt + step, 1);
  const end = performance.now();
  return {
    threads,
    prefill: (measuredPrompt / (prefilled - start)) * 1000,
    decode: (measuredSteps / (end - prefilled)) * 1000,
    ms: end - start,
  };
}

async function decode(context: NativeContext, position: number, tokens: number): Promise<void> {
  context.initBatch(tokens);
  context.addToBatch(0, position, new Uint32Array(tokens).fill(1), Uint32Array.of(tokens - 1));
  await context.decodeBatch();
}
