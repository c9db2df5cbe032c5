/**
 * @module An engine that samples nothing twice: samples by the model, the context's tokens, the parameters and the
 * seed. Policies that only choose in other ways share what they choose among.
 */
import type { Engine, Prompt, Sample, SampleEvent, SampleRequest } from "icdpo-gateway/laboratory";
import { z } from "zod";
import type { Kind, ResultCache } from "./cache.ts";
import { engineWith } from "./engine-with.ts";
import { versions } from "./versions.ts";

const sampleSchema = z.object({
  text: z.string(),
  finish: z.enum(["stop", "length"]),
  stopString: z.string().optional(),
  tokens: z.array(z.number()),
  /** In nats, to a millionth; empty where the engine has none. */
  logprobs: z.array(z.number()),
  endLogprobs: z.array(z.number().nullable()),
});

const sampleKind: Kind<z.output<typeof sampleSchema>> = {
  name: "sample",
  version: versions.answers.version,
  schema: sampleSchema,
};

/** For whole answers of one context: what stops in the middle is not kept, nor what comes with details of tokens. */
export function sharedSamples(engine: Engine, cache: ResultCache): Engine {
  return engineWith(engine, {
    sample: (prompt, request, signal) =>
      request.topLogprobs === undefined && request.logitBias === undefined && request.contrast === undefined
        ? samplesOnce(engine, cache, prompt, request, signal)
        : engine.sample(prompt, request, signal),
  });
}

async function* samplesOnce(
  engine: Engine,
  cache: ResultCache,
  prompt: Prompt,
  { seeds, logprobs, ...parameters }: SampleRequest,
  signal?: AbortSignal,
): AsyncGenerator<SampleEvent> {
  const { model, capabilities } = await engine.info(signal);
  const { whole, ...shaping } = parameters;
  const keyOf = (seed: number): unknown => [model, prompt.tokens, prompt.end, shaping, seed];
  const missing: { readonly index: number; readonly key: unknown }[] = [];
  yield { type: "prompt", cached: 0 };
  for (const [index, seed] of seeds.entries()) {
    const key = keyOf(seed);
    const sample = cache.get(sampleKind, key);
    if (sample === undefined) missing.push({ index, key });
    else yield* told(index, sample);
  }
  if (missing.length === 0) return;
  // Whoever asks next may score by them.
  const request = { ...parameters, logprobs: logprobs || capabilities.score };
  const asked = missing.map(({ index }) => seeds[index] as number);
  for await (const event of engine.sample(prompt, { ...request, seeds: asked }, signal)) {
    if (event.type === "prefill" || event.type === "prompt") {
      yield event;
      continue;
    }
    const { index, key } = missing[event.index] as (typeof missing)[number];
    if (event.type === "done") await cache.put(sampleKind, key, kept(event.sample));
    yield { ...event, index };
  }
}

function* told(index: number, { stopString, ...sample }: z.output<typeof sampleSchema>): Generator<SampleEvent> {
  if (sample.text !== "") yield { type: "text", index, text: sample.text, tokens: sample.tokens.length };
  yield { type: "done", index, sample: { ...sample, ...(stopString !== undefined && { stopString }) } };
}

const millionth = 1e6;
const rounded = (value: number): number => Math.round(value * millionth) / millionth;

function kept({ text, finish, stopString, tokens, logprobs, endLogprobs }: Sample): z.output<typeof sampleSchema> {
  return {
    text,
    finish,
    ...(stopString !== undefined && { stopString }),
    tokens: [...tokens],
    logprobs: logprobs.map(rounded),
    endLogprobs: endLogprobs.map((value) => value && rounded(value)),
  };
}
