/**
 * @module The policies in force, and the owner of the engines. A new set is read whole, checked whole, then swapped in
 * one step; a bad one changes nothing.
 */
import type { ModelReference } from "../engine/engines.ts";
import { GatewayError } from "../types/error.ts";
import type { PolicyFiles } from "./parsed-policies.ts";
import type { PolicySet } from "./policy.ts";
import { modelsOf, rewardsOf } from "./policy-models.ts";

export interface PolicyState {
  /** Seconds since 1970, of the set in force. */
  readonly loadedAt: number;
  /** How often a set has been swapped for another. */
  readonly reloads: number;
  /** Why the files as they are now are not in force. */
  readonly error: PolicyError | null;
}

export interface PolicyError {
  readonly message: string;
  /** Seconds since 1970. */
  readonly at: number;
  /** The same files may be good when they are tried again: an engine is away, say. */
  readonly mayPass: boolean;
}

export interface PolicyStoreOptions {
  readonly read: () => Promise<PolicyFiles>;
  readonly build: (files: PolicyFiles) => Promise<PolicySet>;
  /**
   * Told which models and reward models the set in force needs, when one has been taken or refused: whatever else was
   * begun can be let go of.
   */
  readonly retain: (models: readonly ModelReference[], rewards: readonly string[]) => void;
  /** Seconds since 1970. */
  readonly unixTime: () => number;
}

export class PolicyStore {
  readonly #options: PolicyStoreOptions;
  #current: PolicySet;
  #state: PolicyState;
  #reloading: Promise<unknown> = Promise.resolve();

  /** Throws "configuration" where the first set is bad. */
  static async open(options: PolicyStoreOptions): Promise<PolicyStore> {
    return new PolicyStore(await options.build(await options.read()), options);
  }

  private constructor(first: PolicySet, options: PolicyStoreOptions) {
    this.#options = options;
    this.#current = first;
    this.#state = { loadedAt: options.unixTime(), reloads: 0, error: null };
    options.retain(modelsOf(first), rewardsOf(first));
  }

  /** Requests keep the set they began with. */
  get current(): PolicySet {
    return this.#current;
  }

  get state(): PolicyState {
    return this.#state;
  }

  /**
   * Takes the files as they are now, if they are good. One reload at a time. Resolves with what is wrong with them, or
   * null.
   */
  reload(): Promise<string | null> {
    const reloaded = this.#reloading.then(() => this.#reload());
    this.#reloading = reloaded;
    return reloaded;
  }

  async #reload(): Promise<string | null> {
    const { read, build, retain, unixTime } = this.#options;
    try {
      this.#current = await build(await read());
      this.#state = { loadedAt: unixTime(), reloads: this.#state.reloads + 1, error: null };
      return null;
    } catch (error) {
      const message = error instanceof GatewayError ? error.message : `The policies could not be read: ${error}`;
      // What is wrong in the files waits for an edit.
      const mayPass = !(error instanceof GatewayError) || error.code !== "configuration";
      this.#state = { ...this.#state, error: { message, at: unixTime(), mayPass } };
      return message;
    } finally {
      retain(modelsOf(this.#current), rewardsOf(this.#current));
    }
  }
}
