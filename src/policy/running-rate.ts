/**
 * @module β, in nats per token: what a token adds to a score on average, over the candidates of a policy. Kept across
 * requests and restarts, and shared by those that keep it in one place.
 */
import { z } from "zod";
import type { ArtifactStore } from "../retrieval/retriever.ts";
import { parsedJson } from "../text/json.ts";

/** Σ over candidates of their scores, in nats, and of their tokens, EOS among them. */
export interface ScoreTotals {
  readonly nats: number;
  readonly tokens: number;
}

export interface RateKeeping {
  readonly artifacts?: ArtifactStore | undefined;
  /** Takes what goes on after an answer; absent: nothing has to be told of it. */
  readonly background?: ((work: Promise<unknown>) => void) | undefined;
}

/** Older candidates fade: no more tokens than these count, those of about 1,000 answers. */
const mostTokens = 100_000;
/** Written when so much of it is new: what is lost where a process is killed weighs no more. */
const newShare = 0.1;

const totalsSchema = z.object({ nats: z.number(), tokens: z.number().min(0) });

export const noTotals: ScoreTotals = { nats: 0, tokens: 0 };

export function sumOfTotals(a: ScoreTotals, b: ScoreTotals): ScoreTotals {
  return { nats: a.nats + b.nats, tokens: a.tokens + b.tokens };
}

/**
 * Totals of a policy's candidates. Of two processes that write at the same moment, one's last tenth may be lost;
 * otherwise each adds to what the others wrote.
 *
 * @example
 * const rate = await RunningRate.open(policy.id, { artifacts });
 * rate.add({ nats: 12, tokens: 240 });
 * rate.totals; // { nats: 12, tokens: 240 }: 0.05 nats per token
 */
export class RunningRate {
  readonly #key: string;
  readonly #keeping: RateKeeping;
  #totals: ScoreTotals;
  #unwritten = noTotals;
  #isWriting = false;

  /** What is kept of the policy of that id; nothing where it is new. */
  static async open(policyId: string, keeping: RateKeeping): Promise<RunningRate> {
    const key = `nats per token 1 ${policyId}`;
    return new RunningRate(key, keeping, (await read(key, keeping.artifacts)) ?? noTotals);
  }

  private constructor(key: string, keeping: RateKeeping, totals: ScoreTotals) {
    this.#key = key;
    this.#keeping = keeping;
    this.#totals = totals;
  }

  get totals(): ScoreTotals {
    return this.#totals;
  }

  /** Of one request's candidates. */
  add(totals: ScoreTotals): void {
    this.#totals = faded(sumOfTotals(this.#totals, totals));
    this.#unwritten = sumOfTotals(this.#unwritten, totals);
    const isDue = this.#unwritten.tokens >= newShare * this.#totals.tokens && this.#unwritten.tokens > 0;
    if (!isDue || this.#isWriting || this.#keeping.artifacts === undefined) return;
    const writing = this.#write(this.#keeping.artifacts);
    this.#keeping.background?.(writing);
  }

  /** Adds what is new to what is kept, and learns what others have added. Never throws: a store reports. */
  async #write(artifacts: ArtifactStore): Promise<void> {
    this.#isWriting = true;
    const [known, added] = [this.#totals, this.#unwritten];
    this.#unwritten = noTotals;
    try {
      const kept = await read(this.#key, artifacts);
      const all = kept === null ? known : faded(sumOfTotals(kept, added));
      await artifacts.put(this.#key, new TextEncoder().encode(JSON.stringify(all)));
      this.#totals = faded(sumOfTotals(all, this.#unwritten));
    } finally {
      this.#isWriting = false;
    }
  }
}

function faded({ nats, tokens }: ScoreTotals): ScoreTotals {
  const share = Math.min(1, mostTokens / tokens);
  return tokens === 0 ? noTotals : { nats: nats * share, tokens: tokens * share };
}

/** Null where there is nothing, or nothing that can be read. */
async function read(key: string, artifacts: ArtifactStore | undefined): Promise<ScoreTotals | null> {
  const bytes = await artifacts?.get(key);
  if (bytes === undefined) return null;
  const { success, data } = totalsSchema.safeParse(parsedJson(new TextDecoder().decode(bytes)));
  return success ? data : null;
}
