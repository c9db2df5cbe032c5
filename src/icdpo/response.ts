/** @module Responses as they are scored: the text that would be returned, tokenised anew, with EOS at its end. */
import type { Engine, Token } from "../engine/engine.ts";
import type { ScoringContext } from "./contexts.ts";
import type { Copied } from "./copied.ts";
import { responseTokens } from "./prompt.ts";
import type { Dropped } from "./pruning.ts";
import type { Candidate } from "./sample.ts";

/** Null: it cannot be seen whether it fits. */
export type ResponseCheck = (candidate: Pick<Candidate, "text" | "finish">) => boolean | null;

export interface Response extends Candidate {
  /** Whether it fits all that is asked of it; null: that cannot be seen; undefined: nothing is. */
  readonly fits?: boolean | null | undefined;
  /** How much of it is the shown demonstrations' text; absent: none are shown. */
  readonly copied?: Copied | undefined;
  /**
   * `[tokens + 1]`: in the tokens of the model that sampled it. EOS is the token that closes a response in its context.
   */
  readonly idsWithEos: readonly Token[];
  /** The same in the tokens of each model that scores it. */
  readonly idsByEngine: ReadonlyMap<Engine, readonly Token[]>;
}

export interface ScoredResponse extends Response {
  /** log π(y ∣ C⁺), the sum over the tokens of y and EOS, in nats; null where it was not measured. */
  readonly positive: number | null;
  /** log π(y ∣ C⁻), log π(y ∣ C⁰) or log π_ref(y ∣ C⁺), likewise. */
  readonly negative: number | null;
  /** Its mean cosine to the other candidates; absent: nobody asks, null: there are none. */
  readonly consensus?: number | null;
  /** A reward model's, in its own units; absent: nobody asks, null: it was not given in time. */
  readonly reward?: number | null;
  /** Eq. 8 or 11, in nats, or in nats per token, or a reward: see `scoreOf`. Null where it was not measured. */
  readonly score: number | null;
  /** Why it was sampled no further: it is a beginning, and so are its sums. Absent: it was not dropped. */
  readonly dropped?: Dropped | undefined;
}

/**
 * The candidate's ids with EOS for each of the models, the one that sampled it first: one call to each model's
 * tokenizer.
 *
 * @example (await tokenizeResponse(candidate, [contexts.sampled], signal)).idsWithEos // ids of "Yes.", then EOS
 */
export async function tokenizeResponse(
  candidate: Candidate,
  contexts: readonly [ScoringContext, ...ScoringContext[]],
  signal?: AbortSignal,
): Promise<Response> {
  const idsByEngine = new Map<Engine, readonly Token[]>();
  for (const { engine, format, prompt } of contexts) {
    if (idsByEngine.has(engine)) continue;
    const [ids = []] = await responseTokens(engine, format, [candidate.text], prompt.end, signal);
    idsByEngine.set(engine, ids);
  }
  return { ...candidate, idsWithEos: idsFor(contexts[0], { idsByEngine }), idsByEngine };
}

/** Ids with EOS in the tokens of the context's model. */
export function idsFor({ engine }: ScoringContext, { idsByEngine }: Pick<Response, "idsByEngine">): readonly Token[] {
  return idsByEngine.get(engine) ?? [];
}

/** A response that nothing has to be chosen over. */
export function unscored(response: Response): ScoredResponse {
  return { ...response, positive: null, negative: null, score: null };
}
