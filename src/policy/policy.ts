/** @module Policies, routes and experiments as requests use them. */
import type { Engine } from "../engine/engine.ts";
import type { Embedder, Retriever } from "../retrieval/retriever.ts";
import type { RewardModel } from "../reward/reward-model.ts";
import type { Demonstration } from "../types/conversation.ts";
import type { MetricRange } from "./feedback-metrics.ts";
import type { AssignmentUnit } from "./routes-schema.ts";
import type { RunningRate } from "./running-rate.ts";
import type { PolicySettings, PromptFormat } from "./schema.ts";

/** A language model, and how it is prompted (`auto` resolved). */
export interface PromptedModel {
  readonly engine: Engine;
  readonly format: PromptFormat;
}

export interface Models {
  /** π: samples responses. */
  readonly sampler: PromptedModel;
  /** π of the scores: the sampler, unless a policy names another (a teacher). */
  readonly scorer: PromptedModel;
  /** π_ref, which a score may be measured against: a tuned model's base. */
  readonly reference: PromptedModel | null;
}

/** A policy as requests use it. */
export interface Policy extends Models {
  readonly name: string;
  /** `<name>@<12 hex digits of SHA-256 over all that its answers depend on: see `policyId`>`. */
  readonly id: string;
  readonly settings: PolicySettings;
  /** The engine that samples goes on from tokens: answers may be chosen in parts. */
  readonly goesOn: boolean;
  readonly demonstrations: readonly Demonstration[];
  readonly retriever: Retriever | null;
  /** By which candidates are compared with each other; absent: the policy was built without. */
  readonly embedder?: Embedder | undefined;
  /** What gives candidates their rewards; absent: the policy was built without. */
  readonly reward?: RewardModel | undefined;
  /** What a token adds to its scores; absent: it does not matter, or nothing is remembered of other requests. */
  readonly rate?: RunningRate | undefined;
  /** Whether candidates compete by scores, where this is what is left of another policy; absent: the settings say it. */
  readonly isScored?: boolean | undefined;
  /** What the id covers beside the settings. */
  readonly source: PolicySource;
}

export interface PolicySource {
  /** SHA-256 of the demonstration file in hex; "" where there is none. */
  readonly demonstrations: string;
  /** The weights of all its models. */
  readonly model: string;
  /** The sentence embeddings by which it retrieves, or compares candidates; absent: by none. */
  readonly embedder?: string;
  /** The reward model by which it chooses; absent: by none. */
  readonly reward?: string;
  /** `[models]`, in tokens: where a prompt is longer, demonstrations are dropped. Absent: there are none to drop. */
  readonly contextSizes?: readonly number[];
}

export interface Arm {
  readonly name: string;
  readonly policy: Policy;
  readonly weight: number;
}

/** Arms that share a route's traffic. */
export interface Experiment {
  readonly name: string;
  readonly unit: AssignmentUnit;
  readonly arms: readonly Arm[];
  /** One of the arms; those who do not take part get its policy. */
  readonly control: Arm;
  /** The share of units that take part. */
  readonly ramp: number;
  /** What the verdict is about. */
  readonly metrics: readonly string[];
  /** What feedback on its answers may say. */
  readonly feedback: readonly MetricRange[];
}

export interface Route {
  readonly name: string;
  /** The control's, where there is an experiment. */
  readonly policy: Policy;
  readonly experiment: Experiment | null;
  readonly allowOverrides: boolean;
  /** For this share of scored requests, plain sampling's answer is recorded as well. */
  readonly counterfactual: number;
}

export interface PolicySet {
  /** Those that serve a route, and those that were asked for. */
  readonly policies: ReadonlyMap<string, Policy>;
  readonly routes: ReadonlyMap<string, Route>;
  readonly defaultRoute: string | undefined;
  readonly aliases: ReadonlyMap<string, string>;
}
