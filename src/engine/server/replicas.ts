/**
 * @module Equal servers behind one engine. Prompts that begin alike go to the same replica, whose prefix cache knows
 * them, unless it is much busier than the others. One that fails is set aside and asked for its health now and then,
 * when a call comes by; a call that failed before anything of it was passed on is made again, within a budget, and not
 * where it may be what ended the server.
 */
import { growingPause } from "../../async/growing-pause.ts";
import { pause } from "../../async/pause.ts";
import { type Fate, ServerError } from "../../client/server-error.ts";
import { GatewayError } from "../../types/error.ts";
import type { Token } from "../engine.ts";
import type { RemoteSettings, RemoteWorld } from "../engines.ts";
import { contentOf, type SentCall, Suspects } from "../suspects.ts";
import { type Probe, type RemoteCall, RemoteServer } from "./remote.ts";
import { RetryBudget } from "./retry-budget.ts";

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

/** A failure of calls that were under way at a server together. */
interface Incident {
  readonly calls: readonly SentCall[];
  isJudged: boolean;
}

interface Replica {
  readonly server: RemoteServer;
  readonly calls: Set<SentCall>;
  /** Null: in service. */
  aside: Aside | null;
}

/**
 * Of a prompt, what decides which replica it goes to. Longer, and turns of one conversation part; shorter, and all of a
 * policy's meet.
 */
const prefixTokens = 128;
/** No replica gets more than this times its share of calls. */
const loadFactor = 1.25;
/** How often a call may fail with its server and be made again. */
const mostHarms = 1;
const firstPauseMs = 250;
const longestPauseMs = 30_000;

export class Replicas {
  readonly #settings: RemoteSettings;
  readonly #world: RemoteWorld;
  readonly #probe: Probe;
  readonly #replicas: readonly Replica[];
  readonly #suspects: Suspects;
  readonly #budget: RetryBudget;
  readonly #incidents = new WeakMap<SentCall, Incident>();

  constructor(settings: RemoteSettings, world: RemoteWorld, probe: Probe) {
    this.#settings = settings;
    this.#world = world;
    this.#probe = probe;
    this.#suspects = new Suspects(world.now);
    this.#budget = new RetryBudget(world.now);
    this.#replicas = settings.urls.map((url) => ({
      server: new RemoteServer(url, settings, world, probe),
      calls: new Set(),
      aside: null,
    }));
  }

  get servers(): readonly RemoteServer[] {
    return this.#replicas.map(({ server }) => server);
  }

  /** An answer of any replica. Throws as `RemoteServer.json` does, when all tries have failed. */
  async json<Answer>(call: RemoteCall<Answer>, prompt: readonly Token[] = []): Promise<Answer> {
    async function* once(server: RemoteServer): AsyncGenerator<Answer> {
      yield await server.json(call);
    }
    for await (const answer of this.#tries(once, prompt, call)) return answer;
    throw new GatewayError("engine_failure", `No answer came to ${call.path}.`);
  }

  /**
   * A stream of one replica. It is begun again as long as nothing of it has been yielded. Throws as
   * `RemoteServer.events` does.
   */
  events<Answer>(call: RemoteCall<Answer>, prompt: readonly Token[] = []): AsyncGenerator<Answer> {
    return this.#tries((server) => server.events(call), prompt, call);
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
    { path, body, signal }: RemoteCall<unknown>,
  ): AsyncGenerator<Item> {
    const tried = new Set<Replica>();
    const owner = signal ?? Symbol("call");
    let harms = 0;
    this.#budget.earn();
    for (let pauses = 0; ; ) {
      const sent: SentCall = { content: () => contentOf(path, body), owner, hasBegun: false };
      await this.#suspects.admit(sent, signal);
      const replica = this.#pick(prompt, tried);
      const { aside } = replica;
      let failure: GatewayError;
      let hasFailed = false;
      replica.calls.add(sent);
      try {
        for await (const item of begin(replica.server)) {
          if (replica.aside === aside) replica.aside = null;
          sent.hasBegun = true;
          yield item;
        }
        return;
      } catch (error) {
        hasFailed = true;
        if (!mayPass(error)) throw error;
        if (error.code === "engine_unavailable") this.#setAside(replica, error);
        await this.#judge(replica, sent, error, aside === null);
        failure = error;
      } finally {
        replica.calls.delete(sent);
        this.#suspects.leave(sent, sent.hasBegun && !hasFailed);
      }
      this.#suspects.check(sent);
      // What failed with its server is sent once more, and no oftener.
      if (isHarm(failure) && harms++ >= mostHarms) throw final(failure);
      if (sent.hasBegun) throw this.#budget.spend() ? failure : final(failure);
      tried.add(replica);
      if (this.#mayMove(failure, tried)) continue;
      const waitMs = Math.max(growing(pauses), 1000 * (failure.retryAfter ?? 0));
      if (pauses++ >= this.#settings.retries || waitMs > longestPauseMs || !this.#budget.spend()) throw final(failure);
      tried.clear();
      await pause(waitMs, signal);
    }
  }

  /**
   * Whether another replica is tried at once. That one in service gets what another has lost is no load that was not
   * there before.
   */
  #mayMove(failure: GatewayError, tried: ReadonlySet<Replica>): boolean {
    const others = this.#usable.filter((other) => !tried.has(other));
    if (others.length === 0) return false;
    const isMoved =
      ["unsent", "broken", "silent"].includes(fateOf(failure)) && others.some(({ aside }) => aside === null);
    return isMoved || this.#budget.spend();
  }

  /**
   * Finds out whether the server has ended, and what is to be thought of the calls that were under way. A server that
   * is well has lost this call's connection only; one that had been set aside before has ended earlier. Of the calls of
   * one end, the first to come here judges.
   */
  async #judge({ server, calls }: Replica, sent: SentCall, error: GatewayError, wasInService: boolean): Promise<void> {
    if (!isHarm(error)) return;
    const fate = fateOf(error);
    const incident = this.#incidents.get(sent) ?? { calls: [...calls], isJudged: false };
    for (const call of incident.calls) this.#incidents.set(call, incident);
    const hasEnded = fate === "silent" || !(await isWell(this.#probe(server)));
    if (hasEnded) {
      if (wasInService && !incident.isJudged)
        this.#suspects.blame(incident.calls, fate === "failed" ? "outside" : "unknown");
      incident.isJudged = true;
    } else {
      for (const call of incident.calls) this.#incidents.delete(call);
      // It may have been started again already.
      if (fate === "broken" && !sent.hasBegun) this.#suspects.blame([sent], "outside");
    }
  }

  get #usable(): readonly Replica[] {
    return this.#replicas.filter(({ aside }) => aside?.error.code !== "configuration");
  }

  /** The first in the prompt's order that is well and not too busy; without a prompt, the least busy. */
  #pick(prompt: readonly Token[], tried: ReadonlySet<Replica>): Replica {
    const now = this.#world.now();
    for (const replica of this.#replicas)
      if (replica.aside !== null && now >= replica.aside.until) this.#examine(replica).catch(() => {}); // it stays aside
    const usable = this.#usable;
    const [refused] = this.#replicas;
    if (usable.length === 0 && refused?.aside) throw refused.aside.error;
    const untried = usable.filter((replica) => !tried.has(replica));
    const well = untried.filter(({ aside }) => aside === null);
    const among = [well, untried, usable].find((replicas) => replicas.length > 0) ?? this.#replicas;
    if (prompt.length === 0) return least(among, ({ calls }) => calls.size);
    const calls = among.reduce((sum, replica) => sum + replica.calls.size, 0);
    const most = Math.ceil((loadFactor * (calls + 1)) / among.length);
    const key = prompt.slice(0, prefixTokens).join();
    const free = among.filter((replica) => replica.calls.size < most);
    return least(free.length > 0 ? free : among, ({ server }) => hash(`${server.name} ${key}`));
  }

  #setAside(replica: Replica, error: GatewayError): void {
    if (replica.aside === null)
      this.#world.log(`engine: ${replica.server.name}: ${error.message} It is set aside until it is well.`);
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
  const state = { url: server.name, calls: calls.size };
  return aside === null
    ? { ...state, status: "ready" }
    : { ...state, status: "unreachable", reason: aside.error.message };
}

function mayPass(error: unknown): error is GatewayError {
  return error instanceof GatewayError && (error.code === "engine_unavailable" || error.code === "overloaded");
}

/** The call failed together with its server, as far as can be told from here. */
function isHarm(error: GatewayError): boolean {
  return ["failed", "broken", "silent"].includes(fateOf(error));
}

function isWell(probe: Promise<void>): Promise<boolean> {
  return probe.then(
    () => true,
    () => false,
  );
}

function fateOf(error: GatewayError): Fate {
  return error instanceof ServerError ? error.fate : "refused";
}

/** The same error, said to be final: the caller's own retry would multiply with those made here. */
function final(error: GatewayError): GatewayError {
  if (error instanceof ServerError) return error.final();
  const { code, message, retryAfter, cause, isInternal } = error;
  return new GatewayError(code, message, {
    cause,
    isFinal: true,
    isInternal,
    ...(retryAfter !== null && { retryAfter }),
  });
}

function growing(pauses: number): number {
  return growingPause(pauses, firstPauseMs, longestPauseMs);
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
