/**
 * @module The one pool of engines: each is opened when a policy first asks for it, and counts as long as a policy needs
 * it.
 */
import type { Capabilities, EngineLoad, EngineState, RunningEngine } from "./engine.ts";
import { EngineLease } from "./engine-lease.ts";
import { type EnginesState, engineName, type ModelReference, type OwnedEngines } from "./engines.ts";

/** What an engine tells the pool that it belongs to. */
export interface PoolEvents {
  /** A line for the operator; it names the engine where there are several. */
  readonly log: (line: string) => void;
  /** The engine's process has been started again. */
  readonly onRestart: () => void;
}

/** What differs between the runtimes: how an engine comes into being. */
export interface EngineOpener {
  /**
   * The engine itself where nothing has to be started or loaded: no request waits for a promise of another one then,
   * which Workers forbid. Throws "configuration" where there is none of that name, no such adapter, or none that runs
   * here.
   */
  open(model: ModelReference, events: PoolEvents): RunningEngine | Promise<RunningEngine>;
  /**
   * What it can do at best, as far as that is known without opening it. Throws where the engines file names no such
   * model.
   */
  declared(model: ModelReference): Capabilities;
  /** Ends what is being opened, and what the engines share. */
  close(): Promise<void>;
}

export interface EnginePoolOptions {
  readonly report: (line: string) => void;
  /**
   * An engine that is not needed any more is closed so long after its last call. Null: nothing of the engines runs
   * here, so they need no end; who holds one goes on with it, and the pool forgets it.
   */
  readonly lingerMs: number | null;
  /** An engine that says nothing of itself for so long is not ready; absent: each engine has a limit of its own. */
  readonly stateMs?: number | undefined;
}

type CountedState = EngineState & Partial<EngineLoad>;

/**
 * Engines by name, as policies ask for them.
 *
 * @example
 * const pool = new EnginePool(opener, { report: console.error, lingerMs: 10_000 });
 * const engine = await pool.open({ engine: "default" }); // begins it, or finds it begun
 * pool.retain([{ engine: "default" }]); // what else there is ends after its last call
 * await pool.close();
 */
export class EnginePool implements OwnedEngines {
  readonly #opener: EngineOpener;
  readonly #options: EnginePoolOptions;
  /** By name. */
  readonly #leases = new Map<string, EngineLease>();
  /** Names; null: nobody has said yet. */
  #needed: ReadonlySet<string> | null = null;
  /** Of all engines that there have been. */
  #restarts = 0;

  constructor(opener: EngineOpener, options: EnginePoolOptions) {
    this.#opener = opener;
    this.#options = options;
  }

  /**
   * Stays the same for a model, whether the engine is closed meanwhile or not. It is kept until `retain` is called
   * without it.
   */
  async open(model: ModelReference): Promise<EngineLease> {
    const lease = this.#leaseOf(model);
    lease.keep();
    await lease.opened();
    return lease;
  }

  async declared(model: ModelReference): Promise<Capabilities> {
    return this.#opener.declared(model);
  }

  retain(models: readonly ModelReference[]): void {
    this.#needed = new Set(models.map(engineName));
    for (const [name, lease] of this.#leases)
      if (this.#needed.has(name)) lease.keep();
      else if (this.#options.lingerMs === null) this.#leases.delete(name);
      else lease.release();
  }

  /** Ready when all are that are needed. Never throws. */
  async state(): Promise<EnginesState> {
    const counted = [...this.#leases].filter(([name, lease]) => this.#needed?.has(name) ?? lease.isRunning);
    const states = await Promise.all(counted.map(async ([name, lease]) => [name, await this.#stateOf(lease)] as const));
    const all = states.map(([, state]): CountedState => state);
    const worst = all.find(({ status }) => status !== "ready");
    return {
      ...all[0],
      restarts: this.#restarts,
      active: total(all, "active"),
      waiting: total(all, "waiting"),
      freeSequences: total(all, "freeSequences"),
      threads: total(all, "threads"),
      status: worst?.status ?? (all.length === 0 ? "starting" : "ready"),
      engines: Object.fromEntries(states),
    };
  }

  /** Whatever is under way fails. */
  async close(): Promise<void> {
    await this.#opener.close();
    await Promise.all([...this.#leases.values()].map((lease) => lease.close()));
  }

  /** Throws "configuration". */
  #leaseOf(model: ModelReference): EngineLease {
    const name = engineName(model);
    const known = this.#leases.get(name);
    if (known !== undefined) return known;
    this.#opener.declared(model);
    const { report, lingerMs } = this.#options;
    const events: PoolEvents = {
      log: (line) => report(this.#leases.size > 1 ? `${name}: ${line}` : line),
      onRestart: () => {
        this.#restarts += 1;
      },
    };
    const open = () => this.#opener.open(model, events);
    const lease = new EngineLease({ open, lingerMs: lingerMs ?? 0, log: (line) => report(`${name}: ${line}`) });
    this.#leases.set(name, lease);
    return lease;
  }

  async #stateOf(lease: EngineLease): Promise<EngineState> {
    const { stateMs } = this.#options;
    if (stateMs === undefined) return lease.state();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<EngineState>((resolve) => {
      timer = setTimeout(() => resolve({ status: "unresponsive" }), stateMs);
    });
    return Promise.race([lease.state(), late]).finally(() => clearTimeout(timer));
  }
}

function total(states: readonly CountedState[], field: "active" | "waiting" | "freeSequences" | "threads"): number {
  return states.reduce((sum, state) => sum + (state[field] ?? 0), 0);
}
