/**
 * @module The embedded engines of one program share the cores: those at work divide them, since threads that wait for a
 * core spin.
 */

export interface Sharer {
  /** Cores of the machine that are good at arithmetic. */
  readonly cores: number;
  /** Threads that it would use alone. */
  readonly most: number;
  /** Tells it how many threads it may use from now on. */
  allow(threads: number): void;
}

/**
 * `[engines]`: threads of each, at least one, at most as many as it wants, and together no more than there are cores,
 * where there are as many cores as engines. What one does not want the others get; what is left over goes to the first.
 */
export function divideCores(cores: number, most: readonly number[]): number[] {
  const shares = most.map(() => 1);
  for (let left = cores - shares.length; left > 0; left--) {
    const hungry = [...shares.keys()].filter((i) => (shares[i] as number) < (most[i] as number));
    const smallest = Math.min(...hungry.map((i) => shares[i] as number));
    const next = hungry.find((i) => shares[i] === smallest);
    if (next === undefined) break;
    shares[next] = smallest + 1;
  }
  return shares;
}

export class Cores {
  readonly #atWork = new Set<Sharer>();

  /** An engine has steps to do. */
  enter(engine: Sharer): void {
    this.#atWork.add(engine);
    this.#divide();
  }

  /** It has none any more. */
  leave(engine: Sharer): void {
    if (this.#atWork.delete(engine)) this.#divide();
  }

  #divide(): void {
    const engines = [...this.#atWork];
    const cores = Math.max(...engines.map((engine) => engine.cores));
    const shares = divideCores(
      cores,
      engines.map(({ most }) => most),
    );
    for (const [i, engine] of engines.entries()) engine.allow(shares[i] as number);
  }
}

/** An engine's process among those that share the cores: it takes part while it is at work. */
export class CoreShare implements Sharer {
  readonly cores: number;
  readonly most: number;
  readonly #pool: Cores;
  readonly #tell: (threads: number) => void;
  #isAtWork = false;
  /** What it was told last; undefined: nothing yet, it uses as many as it wants. */
  #allowed: number | undefined;

  constructor(pool: Cores, { cores, most }: Pick<Sharer, "cores" | "most">, tell: (threads: number) => void) {
    this.#pool = pool;
    this.cores = cores;
    this.most = most;
    this.#tell = tell;
  }

  setAtWork(isAtWork: boolean): void {
    if (isAtWork === this.#isAtWork) return;
    this.#isAtWork = isAtWork;
    if (isAtWork) this.#pool.enter(this);
    else this.#pool.leave(this);
  }

  /** Of the threads that it would use alone, those that it uses now. */
  within(threads: number): number {
    return this.#isAtWork ? Math.min(threads, this.#allowed ?? threads) : threads;
  }

  allow(threads: number): void {
    if (threads === this.#allowed) return;
    this.#allowed = threads;
    this.#tell(threads);
  }
}
