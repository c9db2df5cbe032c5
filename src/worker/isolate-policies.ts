/**
 * @module The policies of a worker's isolate: built from the bundle when the first request comes, and looked at again
 * now and then.
 */
import type { EnginePool } from "../engine/engine-pool.ts";
import type { RemoteWorld } from "../engine/engines.ts";
import { PolicyBuilder, type PolicyDependencies } from "../policy/build.ts";
import type { PolicySet } from "../policy/policy.ts";
import { type PolicyState, PolicyStore } from "../policy/policy-store.ts";
import { Retries } from "../policy/retries.ts";
import type { RewardPool } from "../reward/reward-pool.ts";
import { GatewayError } from "../types/error.ts";
import { type Bundle, type BundleText, parseBundle, policyFiles, readBundle } from "./bundle.ts";
import { openEngines, openRemoteRewards } from "./remote-engines.ts";

export interface WorkerPoliciesOptions extends Pick<PolicyDependencies, "embedder" | "artifacts" | "background"> {
  /** What was built into the worker. */
  readonly builtIn: unknown;
  readonly kept: BundleText;
  /** The engines file's text, where it is not the bundle's. */
  readonly engines: string | undefined;
  readonly variables: Readonly<Record<string, string>>;
  readonly world: RemoteWorld;
  /** 0: never. */
  readonly reloadMs: number;
}

/**
 * Work that began in a request ends with it, half a minute after its answer at the latest, and then says nothing any
 * more.
 */
const abandonedMs = 60_000;

export class WorkerPolicies {
  readonly #options: WorkerPoliciesOptions;
  #store: PolicyStore;
  #bundle: LiveBundle;
  #lookedAt: number;
  readonly #retries: Retries;
  /** Since when somebody looks; null: nobody does. */
  #looking: number | null = null;

  /** Throws "configuration", or what keeps the engines from answering. */
  static async open(options: WorkerPoliciesOptions): Promise<WorkerPolicies> {
    const bundle = new LiveBundle(options);
    return new WorkerPolicies(options, bundle, await openStore(bundle));
  }

  private constructor(options: WorkerPoliciesOptions, bundle: LiveBundle, store: PolicyStore) {
    this.#options = options;
    this.#bundle = bundle;
    this.#store = store;
    this.#lookedAt = Date.now();
    this.#retries = new Retries(options.reloadMs, Date.now);
  }

  get current(): PolicySet {
    return this.#store.current;
  }

  get state(): PolicyState {
    return this.#store.state;
  }

  get engines(): EnginePool {
    return this.#bundle.engines;
  }

  get rewards(): RewardPool {
    return this.#bundle.rewards;
  }

  /** The gateway's, as the bundle has it. */
  get version(): string {
    return this.#bundle.version;
  }

  /**
   * Takes the bundle as it is now, if it is good and has changed, or was refused for a reason that may have passed. At
   * most every `reloadMs`, and one look at a time. Never throws.
   */
  async look(): Promise<void> {
    const { reloadMs, kept, world } = this.#options;
    const now = Date.now();
    if (kept === null || reloadMs === 0 || now - this.#lookedAt < reloadMs) return;
    if (this.#looking !== null && now - this.#looking < abandonedMs) return;
    const isAbandoned = this.#looking !== null;
    this.#lookedAt = now;
    this.#looking = now;
    try {
      if (isAbandoned) await this.#openAnew();
      else {
        const isEdited = await this.#bundle.hasChanged();
        if (!isEdited && !this.#retries.isDue(this.#store.state)) return;
        const complaint = await this.#store.reload();
        this.#retries.tried(isEdited);
        world.log(
          complaint === null ? "policies reloaded" : `The policies have changed, but are not in force:\n${complaint}`,
        );
      }
    } catch (error) {
      world.log(`The policies cannot be watched: ${(error as Error).message}`);
    } finally {
      this.#looking = null;
    }
  }

  /** What an abandoned look was waiting for never comes. */
  async #openAnew(): Promise<void> {
    const bundle = new LiveBundle(this.#options);
    this.#store = await openStore(bundle);
    this.#bundle = bundle;
  }
}

interface InForce {
  /** The engines file's. */
  readonly text: string;
  readonly engines: EnginePool;
  readonly rewards: RewardPool;
  readonly builder: PolicyBuilder;
}

/** The bundle, with the engines that it names, and a builder that remembers what it has built for them. */
class LiveBundle {
  readonly #options: WorkerPoliciesOptions;
  #seen = "";
  #version = "";
  #inForce: InForce | undefined;

  constructor(options: WorkerPoliciesOptions) {
    this.#options = options;
  }

  get engines(): EnginePool {
    return this.#begun.engines;
  }

  get rewards(): RewardPool {
    return this.#begun.rewards;
  }

  get #begun(): InForce {
    if (this.#inForce === undefined) throw new GatewayError("engine_unavailable", "No engine has been begun yet.");
    return this.#inForce;
  }

  get version(): string {
    return this.#version;
  }

  async hasChanged(): Promise<boolean> {
    return (await this.#options.kept?.()) !== this.#seen;
  }

  async read(): Promise<Bundle> {
    const { kept, builtIn } = this.#options;
    if (kept === null) return parseBundle("the built-in bundle", builtIn);
    this.#seen = await kept();
    return readBundle(this.#seen);
  }

  async build(bundle: Bundle): Promise<PolicySet> {
    const text = this.#options.engines ?? bundle.engines;
    if (text === undefined)
      throw new GatewayError(
        "configuration",
        "No engines: set ICDPO_ENGINES, or make the bundle where there is an engines.yaml.",
      );
    const inForce = text === this.#inForce?.text ? this.#inForce : this.#openAll(text);
    const set = await inForce.builder.build(policyFiles(bundle));
    this.#inForce = inForce;
    this.#version = bundle.version;
    return set;
  }

  /** `text`: the engines file's. Nothing is called yet. Throws "configuration". */
  #openAll(text: string): InForce {
    const { variables, world, embedder, artifacts, background } = this.#options;
    const engines = openEngines(text, variables, world);
    const rewards = openRemoteRewards(text, variables, world);
    const builder = new PolicyBuilder({ engines, rewards: rewards.rewards, embedder, artifacts, background });
    return { text, engines, rewards, builder };
  }
}

function openStore(bundle: LiveBundle): Promise<PolicyStore> {
  let latest: Bundle | undefined;
  return PolicyStore.open({
    read: async () => {
      latest = await bundle.read();
      return policyFiles(latest);
    },
    build: () => bundle.build(latest as Bundle),
    retain: (models, rewards) => {
      bundle.engines.retain(models);
      bundle.rewards.retain(rewards);
    },
    unixTime: () => Math.floor(Date.now() / 1000),
  });
}
