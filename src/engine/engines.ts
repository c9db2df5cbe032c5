/** @module Engines by name, as policies ask for them, and what a remote one is told. */
import type { Fetch } from "../client/fetch.ts";
import type { Capabilities, Engine, EngineLoad, EngineState } from "./engine.ts";

/** A model: an engine of the engines file, and one of the adapters it can wear. */
export interface ModelReference {
  readonly engine: string;
  readonly adapter?: string | undefined;
}

/** `engine`, or `engine+adapter`. */
export function engineName({ engine, adapter }: ModelReference): string {
  return adapter === undefined ? engine : `${engine}+${adapter}`;
}

export interface Engines {
  /**
   * The engine, begun where it does not run. Throws "configuration" where there is none of that name, or no such
   * adapter.
   */
  open(model: ModelReference): Promise<Engine>;
  /** What it can do at best, as far as that is known without beginning it. Throws as `open` does. */
  declared(model: ModelReference): Promise<Capabilities>;
}

/** Engines whose owner, the policies in force, says which are needed. */
export interface OwnedEngines extends Engines {
  /**
   * These are needed, and no others: those are closed when their last call has ended, and no longer count in what is
   * ready.
   */
  retain(models: readonly ModelReference[]): void;
}

/** What the engines say of themselves together, and each by its name; restarts of those closed since are in the sum. */
export type EnginesState = EngineState &
  Partial<EngineLoad> & {
    readonly restarts: number;
    readonly engines: Readonly<Record<string, EngineState & Partial<EngineLoad>>>;
  };

/** One engine, by whatever name it is asked for. */
export function onlyEngine(engine: Engine): Engines {
  return { open: async () => engine, declared: async () => (await engine.info()).capabilities };
}

/** How a server is reached. */
export interface RemoteSettings {
  /** What policies call the engine; errors name it. */
  readonly name?: string | undefined;
  /** Base URLs of equal replicas, without "/v1" and without a slash at the end. */
  readonly urls: readonly string[];
  /** The model's name there; absent: the first one that the server lists. */
  readonly model?: string | undefined;
  readonly apiKey?: string | undefined;
  /** What else every call says, beside what it must say itself. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Tokens that a prompt and its completion may take together, where the server does not say, or less is wanted. */
  readonly contextSize?: number | undefined;
  /**
   * Of the server's cache of prefixes: "separate", the default: where there are several tenants, none gets what
   * another's prompt has left there; "shared": all do, which tells by its speed what others have asked.
   */
  readonly prefixCache?: "separate" | "shared" | undefined;
  /** Of type openai: fields that the service takes beside OpenAI's. */
  readonly takes?: readonly string[] | undefined;
  /** A server that sends nothing for so long is taken for dead. */
  readonly timeoutMs: number;
  /** How often a call that failed for a reason that may pass is made again. */
  readonly retries: number;
}

/** What remote engines need of the world. */
export interface RemoteWorld {
  readonly fetch: Fetch;
  /** Milliseconds, from any origin. */
  readonly now: () => number;
  /** Lines for the operator. */
  readonly log: (line: string) => void;
  /** Lines with a server's own words, which may hold a prompt; absent: nobody wants them. */
  readonly words?: ((line: string) => void) | undefined;
}
