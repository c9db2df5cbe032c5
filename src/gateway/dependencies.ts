/** @module What the gateway needs of the world around it. */
import type { Context } from "hono";
import type { AccessDependencies } from "../access/access.ts";
import type { KeysState } from "../access/api-keys.ts";
import type { BrowserSettings } from "../access/browsers.ts";
import type { Sessions } from "../access/sessions.ts";
import type { UserHeaderSettings } from "../access/user-headers.ts";
import type { PolicySet } from "../policy/policy.ts";
import type { PolicyState } from "../policy/policy-store.ts";
import type { RecordStore } from "../records/record.ts";
import type { EmbeddingModel } from "../retrieval/retriever.ts";
import type { Admission } from "./admission.ts";
import type { BodyRoom } from "./body-room.ts";
import type { StageLimits } from "./deadlines.ts";
import type { ReasoningWord } from "./generation.ts";
import type { RequestRecord, Telemetry } from "./observation.ts";
import type { TenantUnit } from "./tenant.ts";

export interface AppDependencies extends AccessDependencies, BrowserSettings {
  /** What /health and /ready show; "ready" is the status of an engine that can answer. */
  readonly engineState: () => Promise<{ readonly status: string }>;
  /** The same of the reward models that policies in force need, by name; absent: there are none. Never throws. */
  readonly rewardStates?: () => Promise<Readonly<Record<string, { readonly status: string }>>>;
  /** Requests are apart: none may wait for what another one began. */
  readonly isolated?: boolean;
  /** Every request that needs the engine goes through it. */
  readonly admission: Admission;
  /** In which requests' front ends name their users, and whether whoever comes may. */
  readonly userHeaders: UserHeaderSettings;
  /** By which name chats tell thoughts. */
  readonly reasoningWord: ReasoningWord;
  /** A line for who runs the gateway, which is said once. */
  readonly tell: (line: string) => void;
  /** Who may not learn of whom by way of caches. */
  readonly tenantUnit: TenantUnit;
  /** The policies in force; a request keeps those it began with. */
  readonly policies: () => PolicySet;
  /** Since when the keys count, and whether a newer file of them is refused; absent: they do not change. */
  readonly keysState?: () => KeysState;
  /** Since when, and whether newer files are refused. */
  readonly policyState: () => PolicyState;
  /** Sentence embeddings, loaded when they are first asked for. */
  readonly embedder: () => Promise<EmbeddingModel>;
  /** Names by which clients ask for them, beside the model's own. */
  readonly embeddingAliases: ReadonlySet<string>;
  /** Of the page. */
  readonly sessions: Sessions;
  /** Answers, feedback and what experiments show. */
  readonly records: RecordStore;
  readonly telemetry: Telemetry;
  /** The last requests, newest first. */
  readonly recentRequests: () => readonly RequestRecord[];
  readonly stageLimits: StageLimits;
  /** Fires when the gateway ends and cannot wait any longer. */
  readonly shutdown: AbortSignal;
  /** Where a request comes from, as far as that is known. */
  readonly clientAddress: (c: Context) => string | undefined;
  /** Errors that are the gateway's own fault. */
  readonly report: (error: unknown) => void;
  /** Unique, with the given prefix. */
  readonly newId: (prefix: string) => string;
  /** Unsigned, 32 bits. */
  readonly randomSeed: () => number;
  /** Milliseconds, from any origin. */
  readonly now: () => number;
  readonly unixTime: () => number;
  /** A fresh signal that fires when a request has taken too long. */
  readonly deadline: () => AbortSignal;
  /** Between comments on a stream that has nothing to show yet. */
  readonly pingMs: number;
  /** A stream's reader that takes longer than this for one piece, in milliseconds, is taken to have left. */
  readonly readerMs: number;
  /** The largest `n`. */
  readonly maxAnswers: number;
  readonly maxBodyBytes: number;
  /** Resolves when it is the caller's turn at work that holds the event loop up for long. */
  readonly turn: () => Promise<void>;
  /** For what is held of all requests' bodies. */
  readonly bodyRoom: BodyRoom;
  /** Seconds since 1970. */
  readonly startedAt: number;
  readonly version: string;
}
