/** @module Whole answers: candidates are sampled to their ends. Here those that are answers as they are. */
import type { Contrast } from "../engine/engine.ts";
import { GatewayError } from "../types/error.ts";
import { pickRandom, rank } from "./choose.ts";
import type { Contexts } from "./contexts.ts";
import type { CopySources } from "./copied.ts";
import { type Response, type ScoredResponse, tokenizeResponse, unscored } from "./response.ts";
import { type Candidate, type SampleOptions, sampleCandidates } from "./sample.ts";
import { choosesAmong, type Run, type Strategy, samplingWithin } from "./strategy.ts";
import { hasOwnThoughts, sampleThinking, thoughtLimit } from "./thought.ts";

/**
 * Each candidate is an answer, in the order of their indices; or one at random goes first, where the policy says so.
 */
export function unscoredAnswers(run: Run, contexts: Contexts, sources: CopySources | null): Strategy {
  const { score: setting } = run.policy.settings;
  const onBegin = (): void => run.request.onStage?.("sample");
  const options = { ...sampleOptions(run, contexts), logprobs: false, onBegin };
  const tokenize = tokenizer(run, contexts, sources);
  return {
    sample: () =>
      whenDone(candidatesOf(run, contexts, options), () => {
        run.timings.sample = run.lap();
      }),
    async score(candidates) {
      const responses: ScoredResponse[] = [];
      for await (const candidate of candidates) responses.push(unscored(await tokenize(candidate)));
      return responses.toSorted((a, b) => a.index - b.index);
    },
    choose: (scored) => {
      const isRandom = setting.type === "none" && setting.pick === "random";
      const ranked = isRandom ? pickRandom(scored, run.random) : rank(scored);
      run.timings.score = run.lap();
      return { ranked, isSpent: scored.some(({ sample }) => sample === null), natsPerToken: null, waves: null };
    },
  };
}

/** Candidates of a context; where each thinks for itself, after a thought of its own. */
export function candidatesOf(
  { reasoning, count }: Run,
  { sampled, room }: Contexts,
  options: SampleOptions,
): AsyncIterable<Candidate> {
  if (reasoning === null || !hasOwnThoughts(reasoning, count)) return sampleCandidates(sampled, options);
  return sampleThinking(sampled, { ...options, reasoning, limit: thoughtLimit(reasoning, room) });
}

export function sampleOptions(run: Run, contexts: Contexts): Omit<SampleOptions, "logprobs"> {
  const { policy, request, count, usage, signal } = run;
  const { seed, topLogprobs, grammar, budget, onStage } = request;
  const isShown = !choosesAmong(policy, request);
  const onText = (isShown ? request.onText : undefined) ?? request.watch?.onText;
  const onThought = isShown ? request.onThought : undefined;
  const onPrefill = (): void => onStage?.("prefill");
  return {
    parameters: samplingWithin(run, contexts),
    count,
    seed,
    topLogprobs,
    grammar,
    contrast: contrastIn(run, contexts),
    usage,
    signal,
    budget,
    onPrefill,
    onText,
    onThought,
  };
}

function contrastIn({ strategy }: Run, { negative }: Contexts): Contrast | undefined {
  if (strategy.type !== "contrast") return undefined;
  if (negative === null)
    throw new GatewayError(
      "configuration",
      "This policy decodes by contrast, and its score names no negative context.",
    );
  return { prompt: negative.prompt, alpha: strategy.alpha, top: strategy.top };
}

/** In the tokens of the model that sampled, and of those that score; checked, and held against the demonstrations. */
export function tokenizer(
  { signal, request: { check } }: Run,
  { sampled, positive, negative }: Contexts,
  sources: CopySources | null,
): (candidate: Candidate) => Promise<Response> {
  const contexts = [sampled, positive, ...(negative === null ? [] : [negative])] as const;
  return async (candidate) => ({
    ...(await tokenizeResponse(candidate, contexts, signal)),
    ...(check !== undefined && { fits: check(candidate) }),
    ...(sources !== null && { copied: sources.copiedIn(candidate.text) }),
  });
}

export async function* whenDone<Item>(items: AsyncIterable<Item>, onDone: () => void): AsyncGenerator<Item> {
  yield* items;
  onDone();
}
