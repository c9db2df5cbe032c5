/** @module Messages between the gateway's process and the engine's. */
import type { EngineInfo, Prompt, Sample, SampleRequest, Token } from "../../engine/engine.ts";
import type { Conversation } from "../../types/conversation.ts";
import type { ErrorCode } from "../../types/error.ts";
import type { NativeOptions } from "./native.ts";

export type Call =
  | { readonly type: "load"; readonly options: NativeOptions & { readonly model: string } }
  | { readonly type: "tokenize"; readonly texts: readonly string[] }
  | { readonly type: "text-prompt"; readonly text: string }
  | { readonly type: "chat-prompt"; readonly messages: Conversation }
  | { readonly type: "sample"; readonly prompt: Prompt; readonly request: SampleRequest }
  | { readonly type: "score"; readonly prompt: Prompt; readonly completions: readonly (readonly Token[])[] }
  | { readonly type: "load-report" };

export type ParentMessage = { readonly id: number; readonly call: Call } | { readonly id: number; readonly abort: true };

/** Tasks and sequences in the engine's process: what a leak would show in. */
export interface EngineLoad {
  readonly active: number;
  readonly waiting: number;
  readonly freeSequences: number;
}

export type Result = EngineInfo | Token[][] | Prompt | number[][] | EngineLoad | null;

export type ChildMessage =
  | { readonly id: number; readonly text: string; readonly index: number }
  | { readonly id: number; readonly sample: Sample; readonly index: number }
  | { readonly id: number; readonly result: Result }
  | { readonly id: number; readonly error: { readonly code: ErrorCode; readonly message: string; readonly param: string | null } };
