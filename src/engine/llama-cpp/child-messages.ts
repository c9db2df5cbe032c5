/** @module Messages between the gateway's process and the engine's. */
import type { Conversation, Tool } from "../../types/conversation.ts";
import type { ErrorCode } from "../../types/error.ts";
import type {
  EngineInfo,
  EngineLoad,
  Prompt,
  Sample,
  SampleRequest,
  TemplateVariables,
  Token,
  TokenDetail,
  TokenText,
} from "../engine.ts";
import type { EngineSize, NativeOptions } from "./native.ts";

export interface LoadOptions extends NativeOptions {
  /** Identifies the weights in policy hashes. */
  readonly model: string;
  /** The model has a ranking head, and gives rewards instead of text; absent: it is a language model. */
  readonly ranking?: RankingOptions | undefined;
}

export interface RankingOptions {
  /** How it reads query and response, with {{query}} and {{document}}; absent: as its file says. */
  readonly template?: string | undefined;
}

export type Call =
  | { readonly type: "load"; readonly options: LoadOptions }
  | { readonly type: "tokenize"; readonly texts: readonly string[] }
  | { readonly type: "describe"; readonly tokens: readonly Token[] }
  | { readonly type: "detokenize"; readonly tokens: readonly Token[] }
  | { readonly type: "text-prompt"; readonly text: string; readonly special: boolean }
  | {
      readonly type: "chat-prompt";
      readonly messages: Conversation;
      readonly tools: readonly Tool[];
      readonly variables?: TemplateVariables | undefined;
    }
  | { readonly type: "sample"; readonly prompt: Prompt; readonly request: SampleRequest }
  | { readonly type: "score"; readonly prompt: Prompt; readonly topLogprobs?: number | undefined }
  /** Of a model with a ranking head. */
  | { readonly type: "reward"; readonly conversation: Conversation; readonly response: string }
  | { readonly type: "load-report" };

export type ParentMessage =
  | { readonly id: number; readonly call: Call }
  /** For a "score" call: one more completion; null: no more come. */
  | { readonly id: number; readonly completion: readonly Token[] | null }
  | { readonly id: number; readonly abort: true }
  /** Steps may use so many threads from now on: the engines of a program share the cores. */
  | { readonly threads: number };

export interface Loaded {
  readonly info: EngineInfo;
  readonly size: EngineSize;
}

/** A number is a reward. */
export type Result = Loaded | Token[][] | TokenText[] | string | number | Prompt | EngineLoad | null;

export type ChildMessage =
  | { readonly id: number; readonly fed: number }
  | { readonly id: number; readonly cached: number }
  | {
      readonly id: number;
      readonly logprobs: readonly number[];
      readonly details?: readonly TokenDetail[] | undefined;
      readonly index: number;
    }
  | {
      readonly id: number;
      readonly text: string;
      readonly tokens: number;
      readonly details?: readonly TokenDetail[] | undefined;
      readonly index: number;
    }
  | { readonly id: number; readonly sample: Sample; readonly index: number }
  | { readonly id: number; readonly result: Result }
  | {
      readonly id: number;
      readonly error: { readonly code: ErrorCode; readonly message: string; readonly param: string | null };
    };
