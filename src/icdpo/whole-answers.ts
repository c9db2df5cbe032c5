/**
 * @module Whole answers: n candidates are sampled to their ends, and compete by their scores, or are answers as they
 * are.
 */
import { wantsConsensus } from "../policy/schema.ts";
import { pickRandom, rank } from "./choose.ts";
import { consensusOf } from "./consensus.ts";
import type { Contexts } from "./contexts.ts";
import type { CopySources } from "./copied.ts";
import { finalScores } from "./final-scores.ts";
import { idsFor, type Response, type ScoredResponse, tokenizeResponse, unscored } from "./response.ts";
import { type Candidate, type SampleOptions, sampleCandidates } from "./sample.ts";
import { Scorer, scoreCandidates } from "./scorer.ts";
import { choosesAmong, type Run, type Strategy, samplingWithin } from "./strategy.ts";

/** The paper's: S or Ŝ of each candidate, or its likelihood, as soon as it ends; the largest wins. */
export function scoredAnswers(run: Run, contexts: Contexts, sources: CopySources | null): Strategy {
  const { usage, budget, stop } = run;
  const { onStage } = run.request;
  const scorer = new Scorer(contexts, run.policy.settings.score, { usage, signal: budget.signal });
  const onBegin = (): void => {
    onStage?.("sample");
    scorer.begin();
  };
  // Sampled log-probabilities are of use only where the same model scores.
  const options = { ...sampleOptions(run, contexts), logprobs: contexts.positive === contexts.sampled, onBegin };
  return {
    sample: () =>
      whenDone(sampleCandidates(contexts.sampled, options), () => {
        run.timings.sample = run.lap();
        onStage?.("score");
      }),
    score: async (candidates) =>
      withConsensus(
        run,
        await scoreCandidates(candidates, { scorer, tokenize: tokenizer(run, contexts, sources), budget, stop }),
      ),
    choose: (measured) => {
      const { score: setting } = run.policy.settings;
      const isCompared = !wantsConsensus(setting) || measured.every(({ consensus }) => consensus !== undefined);
      const sizes = measured.map((one) => ({ ...one, tokens: idsFor(contexts.positive, one).length }));
      const { scores, natsPerToken } = finalScores(run.policy, sizes);
      const ranked = rank(
        measured.map((one, i) => ({ ...one, score: scores[i] ?? null })),
        setting,
      );
      run.timings.score = run.lap();
      return {
        ranked,
        isSpent:
          !isCompared || measured.some(({ sample, score, text }) => sample === null || (score === null && text !== "")),
        natsPerToken,
      };
    },
  };
}

/** With what each has in common with the others, where the policy asks for it; a spent budget leaves it out. */
async function withConsensus(
  { policy: { settings, embedder }, request, budget }: Run,
  scored: readonly ScoredResponse[],
): Promise<readonly ScoredResponse[]> {
  if (!wantsConsensus(settings.score) || budget.isSpent) return scored;
  const texts = scored.map(({ text }) => text);
  try {
    const cosines = await consensusOf(texts, embedder, budget.signal, request.tenant);
    return scored.map((one, i) => ({ ...one, consensus: cosines[i] ?? null }));
  } catch (error) {
    if (!budget.explains(error)) throw error;
    return scored;
  }
}

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
      whenDone(sampleCandidates(contexts.sampled, options), () => {
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
      return { ranked, isSpent: scored.some(({ sample }) => sample === null), natsPerToken: null };
    },
  };
}

function sampleOptions(run: Run, contexts: Contexts): Omit<SampleOptions, "logprobs"> {
  const { policy, request, count, usage, signal } = run;
  const { seed, topLogprobs, grammar, budget, onStage } = request;
  const onText = choosesAmong(policy, request) ? undefined : request.onText;
  const onPrefill = (): void => onStage?.("prefill");
  return {
    parameters: samplingWithin(run, contexts),
    count,
    seed,
    topLogprobs,
    grammar,
    usage,
    signal,
    budget,
    onPrefill,
    onText,
  };
}

/** In the tokens of the model that sampled, and of those that score; checked, and held against the demonstrations. */
function tokenizer(
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

async function* whenDone<Item>(items: AsyncIterable<Item>, onDone: () => void): AsyncGenerator<Item> {
  yield* items;
  onDone();
}
