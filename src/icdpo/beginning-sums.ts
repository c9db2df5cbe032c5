/**
 * @module Log-probabilities of beginnings as they grow: what is new of each is fed after what was fed before, which the
 * engine has in its cache.
 */
import type { Token } from "../engine/engine.ts";
import type { Beginning } from "./beginnings.ts";
import type { Contexts, ScoringContext } from "./contexts.ts";
import { TeacherForcing } from "./forced-sums.ts";
import { responseTokens } from "./prompt.ts";
import { idsFor, type Response } from "./response.ts";
import { type Sums, sampledSum, sumOf } from "./score.ts";
import type { TokenUsage } from "./token-usage.ts";

/** What a candidate is measured by: all that it will be, or a beginning of it. */
export interface Measurable {
  readonly beginning: Beginning;
  /** Of one that has ended: its text with EOS. Null: it goes on. */
  readonly response: Response | null;
  /** When it was measured before; null: it was not. */
  readonly before: MeasuredBeginning | null;
}

export interface MeasuredBeginning {
  /** In nats; of one that goes on without EOS. */
  readonly sums: Sums;
  /** In tokens of the model that scores by C⁺, EOS among them where it has ended. */
  readonly length: number;
  /** As the model that samples has them, EOS not among them. */
  readonly tokens: readonly Token[];
}

/** Completions to feed after a context, and what is known of their beginnings. */
interface Fed {
  /** Fed before. */
  readonly after: readonly Token[];
  /** log π of that, in nats. */
  readonly sum: number;
  readonly ids: readonly Token[];
}

export class BeginningSums {
  readonly #contexts: Contexts;
  readonly #usage: TokenUsage;
  /** Under way, or done. */
  readonly #forcings: TeacherForcing[] = [];
  /** Contexts that are made ready while the first parts are sampled. */
  readonly #begun = new Map<ScoringContext, TeacherForcing>();

  constructor(contexts: Contexts, usage: TokenUsage) {
    this.#contexts = contexts;
    this.#usage = usage;
  }

  /** What is not known from sampling can be made ready while the first parts are still being sampled. */
  begin(signal: AbortSignal): void {
    const { positive, sampled, negative } = this.#contexts;
    for (const context of [positive === sampled ? null : positive, negative]) {
      if (context === null || this.#begun.has(context)) continue;
      const forcing = this.#forcingOf(context, signal);
      this.#begun.set(context, forcing);
      forcing.begin();
    }
  }

  /**
   * `[candidates]`: the sums of each as it stands, in nats. Sampled log-probabilities stand for log π(y ∣ C⁺) where the
   * model that scores is the one that samples; else all of the text is fed, in that model's own tokens. Throws what the
   * engine throws.
   */
  async measure(candidates: readonly Measurable[], signal: AbortSignal): Promise<MeasuredBeginning[]> {
    const { positive, negative } = this.#contexts;
    const fedTo = async (context: ScoringContext) =>
      Promise.all(candidates.map((one) => this.#fedOf(context, one, signal)));
    const afterPositive = await fedTo(positive);
    const afterNegative = negative && (await fedTo(negative));
    const known = candidates.map((one) => this.#sampledSumOf(one));
    const missing = afterPositive.filter((_, i) => known[i] === null);
    const [forced, negatives] = await Promise.all([
      this.#sumsAfter(positive, missing, signal),
      negative && afterNegative && this.#sumsAfter(negative, afterNegative, signal),
    ]);
    const rest = forced.values();
    return candidates.map(({ beginning }, i) => ({
      sums: { positive: known[i] ?? (rest.next().value as number), negative: negatives?.[i] ?? null },
      length: lengthOf(afterPositive[i] as Fed),
      tokens: beginning.sample?.tokens ?? [],
    }));
  }

  /** Resolves when the engine has ended all that was asked of it, or has been stopped. Never throws. */
  async over(): Promise<void> {
    for (const forcing of this.#forcings) forcing.end();
    await Promise.all(this.#forcings.map((forcing) => forcing.over()));
  }

  #forcingOf(context: ScoringContext, signal: AbortSignal): TeacherForcing {
    const forcing = new TeacherForcing(context, { usage: this.#usage, signal });
    this.#forcings.push(forcing);
    return forcing;
  }

  /** log π(y ∣ C⁺) without a second pass; null where that is not known. */
  #sampledSumOf({ beginning: { sample }, response }: Measurable): number | null {
    const { positive, sampled } = this.#contexts;
    if (positive !== sampled || sample === null) return null;
    if (response !== null) return sampledSum(sample, response.idsWithEos);
    return sample.logprobs.length === sample.tokens.length ? sumOf(sample.logprobs) : null;
  }

  async #fedOf(
    context: ScoringContext,
    { beginning, response, before }: Measurable,
    signal: AbortSignal,
  ): Promise<Fed> {
    const { sampled, positive, negative } = this.#contexts;
    const { engine, format, prompt } = context;
    const isOwn = engine === sampled.engine;
    const whole = response !== null ? idsFor(context, response) : isOwn ? (beginning.sample?.tokens ?? []) : null;
    if (whole === null) {
      const [ids = []] = await responseTokens(engine, format, [beginning.raw], prompt.end, signal);
      return { after: [], sum: 0, ids: ids.slice(0, -1) };
    }
    const known = context === positive ? before?.sums.positive : context === negative ? before?.sums.negative : null;
    const goesOn = isOwn && before !== null && typeof known === "number" && startsWith(whole, before.tokens);
    return goesOn
      ? { after: before.tokens, sum: known, ids: whole.slice(before.tokens.length) }
      : { after: [], sum: 0, ids: whole };
  }

  /** `[fed]`: one call for all that have the same beginning; the same ids once. */
  async #sumsAfter(context: ScoringContext, fed: readonly Fed[], signal: AbortSignal): Promise<number[]> {
    const forcings = new Map<string, TeacherForcing>();
    const sums = new Map<string, Promise<number>>();
    const asked = fed.map(({ after, sum, ids }) => {
      const place = after.join();
      const key = `${place};${ids.join()}`;
      const forcing = forcings.get(place) ?? this.#forcingAfter(context, after, signal);
      forcings.set(place, forcing);
      const own = sums.get(key) ?? forcing.sum(ids).then((more) => sum + more);
      sums.set(key, own);
      return own;
    });
    for (const forcing of forcings.values()) forcing.end();
    return Promise.all(asked);
  }

  #forcingAfter(context: ScoringContext, after: readonly Token[], signal: AbortSignal): TeacherForcing {
    const begun = after.length === 0 ? this.#begun.get(context) : undefined;
    this.#begun.delete(context);
    if (begun !== undefined) return begun;
    const { prompt } = context;
    return this.#forcingOf({ ...context, prompt: { ...prompt, tokens: [...prompt.tokens, ...after] } }, signal);
  }
}

function lengthOf({ after, ids }: Fed): number {
  return after.length + ids.length;
}

function startsWith(ids: readonly Token[], beginning: readonly Token[]): boolean {
  return ids.length > beginning.length && beginning.every((token, i) => token === ids[i]);
}
