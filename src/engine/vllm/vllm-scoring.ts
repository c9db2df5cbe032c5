/**
 * @module Scoring by vLLM: completions are given behind their contexts, echoed with log-probabilities. All that one
 * request scores goes out in one call; each completion's values come as they are ready.
 */
import { z } from "zod";
import { EventQueue } from "../../async/event-queue.ts";
import { describedAnswer } from "../../client/answer-size.ts";
import { cancelled, GatewayError } from "../../types/error.ts";
import type { Prompt, ScoreEvent, Token, TokenDetail } from "../engine.ts";
import { detailOf, topOf } from "../server/token-details.ts";
import { saltOf, type VllmModel } from "./vllm-model.ts";

const logprob = z.number().nullable();
const echoed = z.object({
  choices: z.array(
    z.object({
      index: z.int(),
      logprobs: z.object({
        tokens: z.array(z.string()),
        token_logprobs: z.array(logprob),
        top_logprobs: z.array(z.record(z.string(), logprob).nullable()),
      }),
    }),
  ),
});
type Echo = z.infer<typeof echoed>["choices"][number]["logprobs"];

/** How long a call waits for others of the same request: C⁺ again and C⁻ become known one after the other. */
const gatherMs = 3;

/** One prompt's completions, waiting to be scored. */
interface Job {
  readonly prompt: Prompt;
  readonly completions: readonly (readonly Token[])[];
  readonly topLogprobs: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly events: EventQueue<ScoreEvent>;
  hasLeft: boolean;
}

export class VllmScorer {
  readonly #served: VllmModel;
  readonly #gathering: Job[][] = [];
  readonly #stops = new WeakMap<Job[], AbortController>();

  constructor(served: VllmModel) {
    this.#served = served;
  }

  async *score(
    prompt: Prompt,
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
    signal?: AbortSignal,
    topLogprobs?: number,
  ): AsyncGenerator<ScoreEvent> {
    const known = await collect(completions, signal);
    if (known.length === 0) return;
    const job: Job = {
      prompt,
      completions: known,
      topLogprobs,
      signal,
      events: new EventQueue<ScoreEvent>(),
      hasLeft: false,
    };
    const leave = this.#join(job);
    try {
      yield* job.events;
    } finally {
      job.hasLeft = true;
      leave();
    }
  }

  /** Calls of one request have one signal. Returns what ends the call once all its jobs have left. */
  #join(job: Job): () => void {
    const open = this.#gathering.find(([first]) => first !== undefined && goTogether(first, job));
    const jobs = open ?? [];
    jobs.push(job);
    if (open === undefined) {
      this.#gathering.push(jobs);
      setTimeout(() => this.#run(jobs), gatherMs);
    }
    return () => {
      if (jobs.every(({ hasLeft }) => hasLeft)) this.#stops.get(jobs)?.abort();
    };
  }

  #run(jobs: Job[]): void {
    this.#gathering.splice(this.#gathering.indexOf(jobs), 1);
    const staying = jobs.filter(({ hasLeft }) => !hasLeft);
    if (staying.length === 0) return;
    const stop = new AbortController();
    this.#stops.set(jobs, stop);
    const { signal } = staying[0] as Job;
    this.#call(staying, signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal])).then(
      () => staying.forEach(({ events }) => void events.end()),
      (error: unknown) => staying.forEach(({ events }) => void events.fail(error)),
    );
  }

  async #call(jobs: readonly Job[], signal: AbortSignal): Promise<void> {
    const rows = jobs.flatMap((job) => job.completions.map((completion, index) => ({ job, completion, index })));
    const { model, replicas } = this.#served;
    const [{ topLogprobs = 0, prompt: first }] = jobs as [Job];
    const prompt = rows.map(({ job, completion }) => [...job.prompt.tokens, ...completion]);
    const fixed = { stream: true, echo: true, max_tokens: 1, temperature: 0 };
    const body = { model, prompt, ...fixed, logprobs: topLogprobs, ...saltOf(this.#served, first) };
    // One token more is sampled behind each.
    const size = describedAnswer(
      prompt.map((tokens) => tokens.length + 1),
      topLogprobs,
    );
    const left = new Set(rows.keys());
    for await (const { choices } of replicas.events({ path: "/v1/completions", body, answer: echoed, size, signal }))
      for (const { index, logprobs } of choices) {
        const row = rows[index];
        if (row === undefined || !left.delete(index)) continue;
        if (row.job.completions.length === [...left].filter((other) => rows[other]?.job === row.job).length + 1)
          row.job.events.push({ type: "prompt", cached: 0 });
        row.job.events.push(scored(row.index, row.job, row.completion, logprobs));
      }
    if (left.size > 0)
      throw new GatewayError("engine_failure", "The vLLM server ended its answer before all completions were scored.");
  }
}

function goTogether(one: Job, other: Job): boolean {
  return (
    one.signal === other.signal && one.topLogprobs === other.topLogprobs && one.prompt.tenant === other.prompt.tenant
  );
}

function scored(index: number, { prompt, topLogprobs }: Job, completion: readonly Token[], echo: Echo): ScoreEvent {
  const from = prompt.tokens.length;
  const logprobs = completion.map((_, i) => echo.token_logprobs[from + i] ?? Number.NaN);
  if (topLogprobs === undefined) return { type: "scored", index, logprobs };
  let offset = 0;
  const details = completion.map((_, i): TokenDetail => {
    const text = echo.tokens[from + i] ?? "";
    const detail = {
      ...detailOf(text, logprobs[i] as number),
      offset,
      top: topOf(echo.top_logprobs[from + i], topLogprobs),
    };
    offset += text.length;
    return detail;
  });
  return { type: "scored", index, logprobs, details };
}

/** Waits for the last one. */
async function collect<Item>(
  items: Iterable<Item> | AsyncIterable<Item>,
  signal: AbortSignal | undefined,
): Promise<Item[]> {
  const known: Item[] = [];
  let fire = (): void => {};
  const fired = new Promise<never>((_, reject) => {
    fire = () => reject(signal && cancelled(signal));
    if (signal?.aborted) fire();
    signal?.addEventListener("abort", fire, { once: true });
  });
  const iterator = (async function* () {
    yield* items;
  })();
  try {
    for (;;) {
      const { done, value } = await Promise.race([iterator.next(), fired]);
      if (done) return known;
      known.push(value);
    }
  } finally {
    signal?.removeEventListener("abort", fire);
  }
}
