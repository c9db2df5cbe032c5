/**
 * @module The one pool of reward models: each is opened when a policy first asks for it, and stays as long as a policy
 * in force needs it.
 */
import { Lease } from "../async/lease.ts";
import type { EngineState } from "../engine/engine.ts";
import type { RewardModel, Rewards, RunningReward } from "./reward-model.ts";

export interface RewardPoolOptions {
  readonly report: (line: string) => void;
  /**
   * One that is not needed any more is closed so long after its last call. Null: nothing of them runs here, so they
   * need no end.
   */
  readonly lingerMs: number | null;
  /** Ends what is being opened, and what they share. */
  readonly close: () => Promise<void>;
}

/** Throws "configuration" where it cannot be had. Itself, where nothing has to be started or loaded. */
export type OpenReward = () => RunningReward | Promise<RunningReward>;

interface Member {
  readonly lease: Lease<RunningReward>;
  /** What policies hold, from the first opening on: the same before and after it is closed. */
  model?: RewardModel;
}

export class RewardPool {
  /** As policies ask for them. */
  readonly rewards: Rewards;
  readonly #options: RewardPoolOptions;
  readonly #members: ReadonlyMap<string, Member>;
  /** Names; none, before any policy is in force. */
  #needed: ReadonlySet<string> = new Set();

  /** None is opened yet. */
  constructor(openers: ReadonlyMap<string, OpenReward>, options: RewardPoolOptions) {
    this.#options = options;
    const { report, lingerMs } = options;
    this.#members = new Map(
      [...openers].map(([name, open]) => {
        const log = (line: string): void => report(`reward ${name}: ${line}`);
        return [name, { lease: new Lease({ open, lingerMs: lingerMs ?? 0, log, noun: "reward model" }) }];
      }),
    );
    this.rewards = new Map([...this.#members].map(([name, member]) => [name, () => opened(member)]));
  }

  /** These are needed, and no others: those are closed when their last call has ended. */
  retain(names: readonly string[]): void {
    this.#needed = new Set(names);
    for (const [name, { lease }] of this.#members)
      if (this.#needed.has(name)) lease.keep();
      else if (this.#options.lingerMs !== null) lease.release();
  }

  /** Of those that are needed, by name. Never throws. */
  async state(): Promise<Readonly<Record<string, EngineState>>> {
    const needed = [...this.#members].filter(([name]) => this.#needed.has(name));
    const states = needed.map(async ([name, { lease }]) => {
      const state = (await lease.running?.state()) ?? { status: "starting" };
      return [name, state] as const;
    });
    return Object.fromEntries(await Promise.all(states));
  }

  /** Whatever is under way fails. */
  async close(): Promise<void> {
    await this.#options.close();
    await Promise.all([...this.#members.values()].map(({ lease }) => lease.close()));
  }
}

/** Kept until `retain` is called without it. */
async function opened(member: Member): Promise<RewardModel> {
  const { lease } = member;
  lease.keep();
  const { id } = await lease.opened();
  member.model ??= {
    id,
    reward: (conversation, response, signal) =>
      lease.call(signal, (model) => model.reward(conversation, response, signal)),
  };
  return member.model;
}
