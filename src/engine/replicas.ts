/**
 * @module Equal servers behind one engine. Prompts that begin alike go to the same replica, whose prefix cache knows them, unless it is much busier
 * than the others. One that fails is set aside and asked for its health now and then, when a call comes by; a call that failed before anything
 * of it was passed on is made again.
 */
import { GatewayError } from "../types/error.ts";
import { growingPause } from "../types/growing-pause.ts";
import type { Token } from "./engine.ts";
import type { RemoteSettings, RemoteWorld } from "./engines.ts";
import { type Probe, type RemoteCall, RemoteServer } from "./remote.ts";

export interface ReplicaState {
  readonly url: string;
  readonly status: "ready" | "unreachable";
  /** Calls under way. */
  readonly calls: number;
  /** Why it is set aside. */
  readonly reason?: string;
}

interface Aside {
  readonly error: GatewayError;
  readonly failures: number;
  /** When it may be asked for its health again. */
  readonly until: number;
}

interface Replica {
  readonly server: RemoteServer;
  calls: number;
  /** Null: in service. */
  aside: Aside | null;
}

/** Of a prompt, what decides which replica it goes to. Longer, and turns of one conversation part; shorter, and all of a policy's meet. */
const prefixTokens = 128;
/** No replica gets more than this times its share of calls. */
const loadFactor = 1.25;
const firstPauseMs = 250;
const longestPauseMs = 30_000;

export class Replicas {
  readonly #settings: RemoteSettings;
  readonly #world: RemoteWorld;
  readonly #probe: Probe;
  readonly #replicas: readonly Replica[];

  constructor(settings: RemoteSettings, world: RemoteWorld, probe: Probe) {
    this.#settings = settings;
    this.#world = world;
    this.#probe = probe;
    this.#replicas = settings.urls.map((url) => ({ server: new RemoteServer(url, settings, world, probe), calls: 0, aside: null }));
  }

  get servers(): readonly RemoteServer[] {
    return this.#replicas.map(({ server }) => server);
  }

  /** An answer of any replica. Throws as `RemoteServer.json` does, when all tries have failed. */
  async json<Answer>(call: RemoteCall<Answer>, prompt: readonly Token[] = []): Promise<Answer> {
    async function* once(server: RemoteServer): AsyncGenerator<Answer> {
      yield await server.json(call);
    }
    for await (const answer of this.#tries(once, prompt, call.signal)) return answer;
    throw new GatewayError("engine_failure", `No answer came to ${call.path}.`);
  }

  /** A stream of one replica. It is begun again as long as nothing of it has been yielded. Throws as `RemoteServer.events` does. */
  events<Answer>(call: RemoteCall<Answer>, prompt: readonly Token[] = []): AsyncGenerator<Answer> {
    return this.#tries((server) => server.events(call), prompt, call.signal);
  }

  /** Asks replicas that are due for their health; "unreachable" where none is in service. Never throws. */
  async state(): Promise<{ status: "ready" | "unreachable"; replicas: ReplicaState[] }> {
    await Promise.all(this.#replicas.map((replica) => this.#examine(replica)));
    const replicas = this.#replicas.map(stateOf);
    return { status: replicas.some(({ status }) => status === "ready") ? "ready" : "unreachable", replicas };
  }

  async *#tries<Item>(
    begin: (server: RemoteServer) => AsyncIterable<Item>,
    prompt: readonly Token[],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Item> {
    const tried = new Set<Replica>();
    for (let pauses = 0; ; ) {
      const replica = this.#pick(prompt, tried);
      const { aside } = replica;
      let hasBegun = false;
      replica.calls += 1;
      try {
        for await (const item of begin(replica.server)) {
          if (replica.aside === aside) replica.aside = null;
          hasBegun = true;
          yield item;
        }
        return;
      } catch (error) {
        if (!mayPass(error)) throw error;
        if (error.code === "engine_unavailable") this.#setAside(replica, error);
        if (hasBegun) throw error;
        tried.add(replica);
        if (this.#usable.some((other) => !tried.has(other))) continue;
        const waitMs = Math.max(growing(pauses), 1000 * (error.retryAfter ?? 0));
        if (pauses++ >= this.#settings.retries || waitMs > longestPauseMs) throw final(error);
        tried.clear();
        await pause(waitMs, signal);
      } finally {
        replica.calls -= 1;
      }
    }
  }

  get #usable(): readonly Replica[] {
    return this.#replicas.filter(({ aside }) => aside?.error.code !== "configuration");
  }

  /** The first in the prompt's order that is well and not too busy; without a prompt, the least busy. */
  #pick(prompt: readonly Token[], tried: ReadonlySet<Replica>): Replica {
    const now = this.#world.now();
    for (const replica of this.#replicas) if (replica.aside !== null && now >= replica.aside.until) this.#examine(replica).catch(() => {}); // it stays aside
    const usable = this.#usable;
    const [refused] = this.#replicas;
    if (usable.length === 0 && refused?.aside) throw refused.aside.error;
    const untried = usable.filter((replica) => !tried.has(replica));
    const well = untried.filter(({ aside }) => aside === null);
    const among = [well, untried, usable].find((replicas) => replicas.length > 0) ?? this.#replicas;
    if (prompt.length === 0) return least(among, ({ calls }) => calls);
    const calls = among.reduce((sum, replica) => sum + replica.calls, 0);
    const most = Math.ceil((loadFactor * (calls + 1)) / among.length);
    const key = prompt.slice(0, prefixTokens).join();
    const free = among.filter((replica) => replica.calls < most);
    return least(free.length > 0 ? free : among, ({ server }) => hash(`${server.name} ${key}`));
  }

  #setAside(replica: Replica, error: GatewayError): void {
    if (replica.aside === null) this.#world.log(`engine: ${error.message} It is set aside until it is well.`);
    const failures = replica.aside?.failures ?? 0;
    replica.aside = { error, failures: failures + 1, until: this.#world.now() + growing(failures) };
  }

  /** What one request waits for is not awaited by another: some runtimes forbid that. */
  async #examine(replica: Replica): Promise<void> {
    const { server, aside } = replica;
    if (aside !== null) replica.aside = { ...aside, until: this.#world.now() + growing(aside.failures) };
    try {
      await this.#probe(server);
      if (aside !== null) this.#world.log(`engine: the server at ${server.name} is well again.`);
      replica.aside = null;
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      this.#setAside(replica, error);
    }
  }
}

function stateOf({ server, calls, aside }: Replica): ReplicaState {
  const state = { url: server.name, calls };
  return aside === null ? { ...state, status: "ready" } : { ...state, status: "unreachable", reason: aside.error.message };
}

function mayPass(error: unknown): error is GatewayError {
  return error instanceof GatewayError && (error.code === "engine_unavailable" || error.code === "overloaded");
}

/** The same error, said to be final: the caller's own retry would multiply with those made here. */
function final({ code, message, retryAfter, cause, isInternal }: GatewayError): GatewayError {
  return new GatewayError(code, message, { cause, isFinal: true, isInternal, ...(retryAfter !== null && { retryAfter }) });
}

function growing(pauses: number): number {
  return growingPause(pauses, firstPauseMs, longestPauseMs);
}

/** Ends early when the signal fires: what is tried next then says so. */
function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end, { once: true });
    if (signal?.aborted) end();
  });
}

function least<Item>(items: readonly Item[], measure: (item: Item) => number): Item {
  return items.reduce((best, item) => (measure(item) < measure(best) ? item : best));
}

/** FNV-1a and murmur3's finaliser; 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
