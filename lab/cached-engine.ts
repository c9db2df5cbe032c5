/**
 * @module An engine that scores nothing twice: log-probabilities by the model, the context's tokens and the
 * completion's.
 */
import { type Engine, GatewayError, type Prompt, type ScoreEvent, type Token } from "icdpo-gateway/laboratory";
import { z } from "zod";
import type { Kind, ResultCache } from "./cache.ts";
import { engineWith } from "./engine-with.ts";
import { versions } from "./versions.ts";

/** `[tokens]`, in nats, to a millionth. */
const scored: Kind<number[]> = { name: "score", version: versions.scores.version, schema: z.array(z.number()) };
const millionth = 1e6;

/**
 * For scoring given completions; what competes while it is sampled is better scored by the engine itself, which need
 * not wait for all of it.
 */
export function cachedEngine(engine: Engine, cache: ResultCache): Engine {
  return engineWith(engine, {
    score: (prompt, completions, signal, topLogprobs) =>
      topLogprobs === undefined
        ? cachedScores(engine, cache, prompt, completions, signal)
        : engine.score(prompt, completions, signal, topLogprobs),
  });
}

async function* cachedScores(
  engine: Engine,
  cache: ResultCache,
  { tokens, end }: Prompt,
  completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
  signal?: AbortSignal,
): AsyncGenerator<ScoreEvent> {
  const { model } = await engine.info(signal);
  const missing: { readonly index: number; readonly completion: readonly Token[] }[] = [];
  let index = 0;
  for await (const completion of completions) {
    const logprobs = cache.get(scored, [model, tokens, completion]);
    if (logprobs !== undefined) yield { type: "scored", index, logprobs };
    else missing.push({ index, completion });
    index += 1;
  }
  if (missing.length === 0) return;
  const asked = missing.map(({ completion }) => completion);
  for await (const event of engine.score({ tokens, end }, asked, signal)) {
    const { index: place, completion } = (event.type === "scored" ? missing[event.index] : undefined) ?? {};
    if (event.type !== "scored" || place === undefined || completion === undefined) {
      yield event;
      continue;
    }
    if (event.logprobs.length !== completion.length || event.logprobs.some((value) => !Number.isFinite(value)))
      throw new GatewayError("engine_failure", "The engine returned no log-probability for a token of a completion.");
    const logprobs = event.logprobs.map((value) => Math.round(value * millionth) / millionth);
    await cache.put(scored, [model, tokens, completion], logprobs);
    yield { type: "scored", index: place, logprobs };
  }
}
