/**
 * @module One request to generate answers, whatever protocol it came in: what is asked for, and what happens until it
 * is answered.
 */
import type { SamplingParameters, TemplateVariables, TokenDetail } from "../engine/engine.ts";
import type { IcdpoOutcome } from "../icdpo/pipeline.ts";
import type { AskedReasoning } from "../policy/reasoning-schema.ts";
import type { Overrides } from "../policy/schema.ts";
import type { Conversation, Tool, ToolCall } from "../types/conversation.ts";

/** Which of the tools may or must be called: none or any number; at least one; at least one of this name. */
export type ToolChoice = "auto" | "required" | { readonly name: string };

/** Whether a schema is kept to or refused by its place (true), or kept to as far as a grammar can. */
export type Strictness = boolean | undefined;

export type AnswerFormat =
  | { readonly type: "text" }
  | { readonly type: "json-object" }
  /** `path` is where the schema stands in the request. */
  | { readonly type: "json-schema"; readonly schema: unknown; readonly path: string; readonly strict?: Strictness }
  /** A regular expression that the whole answer matches; a grammar in GBNF that it is a text of. */
  | { readonly type: "pattern"; readonly text: string; readonly path: string }
  | { readonly type: "grammar"; readonly text: string; readonly path: string }
  /** One of these texts. */
  | { readonly type: "choice"; readonly choices: readonly string[]; readonly path: string };

/** A request in the gateway's own words. */
export interface Generation {
  readonly conversation: Conversation;
  /** Who asks, as the client names them. */
  readonly user: string | undefined;
  /** What the request changes of its policy. */
  readonly overrides: Overrides | undefined;
  /** What the chat template is told beside messages and tools. */
  readonly variables?: TemplateVariables | undefined;
  /** What it says of thoughts before the answer. */
  readonly reasoning?: AskedReasoning | undefined;
  /** The field that says so, to be named where the model does not think; absent: it is one that such models may get. */
  readonly reasoningField?: string | undefined;
  /** False: nothing of its prompt is taken from a cache of earlier requests, or left for later ones. */
  readonly cachesPrompt?: boolean | undefined;
  /** Only what the client says itself; the policy says the rest. */
  readonly sampling: { readonly [Name in keyof SamplingParameters]?: SamplingParameters[Name] | undefined };
  /** How many answers are wanted, best first. */
  readonly answers: number;
  readonly seed?: number | undefined;
  /** Empty: none. Each with the place in the request where its schema stands. */
  readonly tools: readonly (Tool & { readonly path: string; readonly strict?: Strictness })[];
  readonly toolChoice: ToolChoice;
  readonly parallelToolCalls: boolean;
  readonly format: AnswerFormat;
  /** So many alternatives are wanted beside each token's log-probability; null: no log-probabilities. */
  readonly topLogprobs: number | null;
}

/** The names by which clients know thoughts. */
export const reasoningWords = ["reasoning_content", "reasoning", "both"] as const;
export type ReasoningWord = (typeof reasoningWords)[number];

export type AnswerFinish = "stop" | "length" | "tool_calls";

/** What a client sees of an answer. */
export interface Answer {
  /** Null where there are only tool calls. */
  readonly content: string | null;
  /** What was thought before it; null: nothing. */
  readonly thought: string | null;
  readonly toolCalls: readonly ToolCall[];
  readonly finish: AnswerFinish;
  /** Tokens of the text and their log-probabilities, where they were asked for. */
  readonly logprobs: readonly TokenDetail[] | null;
}

/** Pieces of an answer in the order of its text; `index` is the answer's, `call` the tool call's within it. */
export type AnswerEvent =
  /** What is thought before the text. */
  | { readonly type: "thought"; readonly index: number; readonly text: string }
  | {
      readonly type: "text";
      readonly index: number;
      readonly text: string;
      readonly logprobs: readonly TokenDetail[] | null;
    }
  | { readonly type: "call"; readonly index: number; readonly call: number; readonly id: string; readonly name: string }
  | { readonly type: "arguments"; readonly index: number; readonly call: number; readonly text: string }
  | { readonly type: "finish"; readonly index: number; readonly answer: Answer };

/** What happens from a request to its answers: "begin", the answers' events, "end". */
export type GenerationEvent =
  /** Everything wrong with the request has been thrown before. `promptTokens`: of C⁰. */
  | { readonly type: "begin"; readonly promptTokens: number }
  | AnswerEvent
  | { readonly type: "end"; readonly generated: Generated };

/** What a plain request would have used. */
export interface Usage {
  readonly promptTokens: number;
  /** Those of thoughts among them. */
  readonly completionTokens: number;
  /** Absent: the model does not think. */
  readonly reasoningTokens?: number | undefined;
}

export interface Generated {
  /** Best first. */
  readonly answers: readonly Answer[];
  readonly usage: Usage;
  readonly outcome: IcdpoOutcome;
}
