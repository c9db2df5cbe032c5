/** @module Teacher forcing: log π(y ∣ C) of given completions, their own tokens fed after a context. */
import { allOrNone } from "../async/all-or-none.ts";
import { EventQueue } from "../async/event-queue.ts";
import type { Token } from "../engine/engine.ts";
import type { ScoringContext } from "./contexts.ts";
import { sumOf, unscorable } from "./score.ts";
import { counted, type TokenUsage } from "./token-usage.ts";

export interface ScoringOptions {
  /** Grows by the tokens of contexts and completions, as they are fed. */
  readonly usage: TokenUsage;
  /** A part of a context has been fed; a context is at hand. */
  readonly onPrefill?: (() => void) | undefined;
  readonly onBegin?: (() => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Completions to be fed after one context. */
export interface ForcedCompletions {
  readonly context: ScoringContext;
  /** `[completions][tokens]`, EOS among them where it counts. */
  readonly completions: readonly (readonly Token[])[];
}

/**
 * `[completions]`: log π(y ∣ C) = Σᵢ log π(yᵢ ∣ C, y₁ … yᵢ₋₁) of each, in nats: one call to the engine. Throws
 * "engine_failure" where the engine knows no log-probability of a token, and whatever the engine throws.
 */
export async function forcedSums(
  context: ScoringContext,
  completions: readonly (readonly Token[])[],
  options: ScoringOptions,
): Promise<number[]> {
  const forcing = new TeacherForcing(context, options);
  const sums = completions.map((completion) => forcing.sum(completion));
  forcing.end();
  return Promise.all(sums);
}

/**
 * `[contexts][completions]`: the sums of several contexts, asked for at once, with one signal: an engine may score them
 * in one call (vLLM does). Where one of them fails, the others are stopped, and have stopped when its error is thrown.
 */
export async function allForcedSums(
  forced: readonly ForcedCompletions[],
  options: ScoringOptions,
): Promise<number[][]> {
  const sums = ({ context, completions }: ForcedCompletions, _: number, signal: AbortSignal): Promise<number[]> =>
    forcedSums(context, completions, { ...options, signal });
  return allOrNone(forced, sums, options.signal);
}

/** log π(y ∣ C) of responses as they come, in nats: one call to the engine. */
export class TeacherForcing {
  readonly #context: ScoringContext;
  readonly #options: ScoringOptions;
  readonly #completions = new EventQueue<readonly Token[]>();
  readonly #awaited: { readonly tokens: number; readonly resolve: (sum: number) => void }[] = [];
  #outcome: Promise<void> | undefined;

  constructor(context: ScoringContext, options: ScoringOptions) {
    this.#context = context;
    this.#options = options;
  }

  /** The engine can make the context ready before the first completion comes. */
  begin(): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = this.#run();
    this.#outcome.catch(() => {}); // every sum that is awaited throws it
  }

  /** The completion is handed to the engine before this returns. */
  sum(ids: readonly Token[]): Promise<number> {
    this.begin();
    const summed = new Promise<number>((resolve, reject) => {
      this.#awaited.push({ tokens: ids.length, resolve });
      this.#outcome?.then(() => reject(unscorable()), reject);
    });
    this.#completions.push(ids);
    return summed;
  }

  /** No more completions come: an engine that scores many in one call can begin. */
  end(): void {
    this.#completions.end();
  }

  /** Resolves when the engine has ended what was asked of it, or has been stopped. Never throws. */
  async over(): Promise<void> {
    await this.#outcome?.catch(() => {});
  }

  async #run(): Promise<void> {
    const { usage, signal } = this.#options;
    const { engine, prompt } = this.#context;
    for await (const event of counted(engine.score(prompt, this.#completions, signal), prompt.tokens.length, usage)) {
      if (event.type === "prefill") this.#options.onPrefill?.();
      if (event.type === "prompt") this.#options.onBegin?.();
      if (event.type !== "scored") continue;
      const { tokens, resolve } = this.#awaited[event.index] ?? {};
      if (event.logprobs.length !== tokens) throw unscorable();
      resolve?.(sumOf(event.logprobs));
    }
  }
}
