/**
 * @module Two sequences in step, for contrastive decoding: what is sampled after C⁺ is fed after C⁻ as well, whose
 * logits the next token is measured by.
 */
import { type Resolvers, withResolvers } from "../../async/with-resolvers.ts";
import type { Token } from "../engine.ts";
import type { ContrastSampler, Logits } from "./backend.ts";
import type { TaskSequence } from "./task.ts";
import { SampledSequence, type SampledSequenceOptions } from "./task-sequences.ts";

export interface ContrastOptions extends Omit<SampledSequenceOptions, "sampler"> {
  readonly sampler: ContrastSampler;
}

/** What the two tell each other in one step. */
interface Meeting {
  /** C⁻'s logits. */
  readonly against: Resolvers<Logits>;
  /** What both go on with. */
  readonly next: Resolvers<readonly Token[]>;
}

/** To be run in step: each step takes both, or none. */
export class ContrastSequences {
  /** After C⁺: the completion. */
  readonly positive: TaskSequence;
  /** After C⁻. */
  readonly negative: TaskSequence;
  #meeting = newMeeting();

  constructor({ sampler, onDone, ...options }: ContrastOptions) {
    const logRatios: number[] = [];
    const sample = async (row: Logits): Promise<Token> => {
      const { token, logRatio } = await sampler.sample(row, await this.#meeting.against.promise);
      logRatios.push(logRatio);
      return token;
    };
    const sampled = new SampledSequence({
      ...options,
      sampler: { sample, dispose: () => sampler.dispose() },
      onDone: (done) => onDone({ ...done, logRatios }),
    });
    this.positive = {
      start: [],
      accept: (rows) => this.#lead(sampled, rows),
      cut: () => sampled.cut(),
      dispose: () => sampled.dispose(),
    };
    this.negative = { start: [], accept: (rows) => this.#follow(rows), cut() {}, dispose() {} };
  }

  async #lead(sampled: SampledSequence, rows: readonly Logits[]): Promise<readonly Token[]> {
    const { next } = this.#meeting;
    try {
      const tokens = await sampled.accept(rows);
      this.#meeting = newMeeting();
      next.resolve(tokens);
      return tokens;
    } catch (error) {
      next.reject(error);
      throw error;
    }
  }

  #follow([row]: readonly Logits[]): Promise<readonly Token[]> {
    const { against, next } = this.#meeting;
    if (row === undefined) against.reject(new Error("A step returned no logits after C⁻"));
    else against.resolve(row);
    return next.promise;
  }
}

function newMeeting(): Meeting {
  const meeting = { against: withResolvers<Logits>(), next: withResolvers<readonly Token[]>() };
  // Whoever waits for it is told; at the end nobody does.
  for (const { promise } of [meeting.against, meeting.next]) promise.catch(() => {});
  return meeting;
}
