/** @module A better model behind any OpenAI-compatible endpoint, and what it costs to ask it. */
import OpenAI from "openai";
import { GatewayError } from "../types/error.ts";

export interface TeacherOptions {
  readonly baseURL: string;
  readonly apiKey: string;
  readonly model: string;
  readonly maxTokens: number;
  readonly temperature?: number | undefined;
  /** Of a call that failed for a reason that may pass (429, 5xx, no connection), with growing pauses. */
  readonly retries: number;
}

export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

export interface TeacherAnswer {
  readonly text: string;
  /** "stop"; "length": cut off; "refused": the endpoint will not answer this prompt. */
  readonly finish: string;
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export interface Teacher {
  readonly model: string;
  /** The same `key`, the same call: an endpoint that knows idempotency keys does not count it twice. Throws "engine_unavailable". */
  ask(messages: readonly Message[], key: string, signal?: AbortSignal): Promise<TeacherAnswer>;
}

const callMs = 300_000;
/** The endpoint understood the call, and refuses what it says. */
const unanswerable: ReadonlySet<number | undefined> = new Set([400, 413, 422]);

export function openTeacher(options: TeacherOptions): Teacher {
  const { baseURL, apiKey, model, maxTokens, temperature, retries } = options;
  const client = new OpenAI({ baseURL, apiKey, maxRetries: retries, timeout: callMs });
  return {
    model,
    async ask(messages, key, signal) {
      const body = { model, messages: [...messages], max_tokens: maxTokens, ...(temperature !== undefined && { temperature }) };
      try {
        // The client's own option for it sends nothing.
        const headers = { "idempotency-key": key };
        const { choices, usage } = await client.chat.completions.create(body, { headers, ...(signal && { signal }) });
        return {
          text: choices[0]?.message.content?.trim() ?? "",
          finish: choices[0]?.finish_reason ?? "stop",
          promptTokens: usage?.prompt_tokens ?? 0,
          completionTokens: usage?.completion_tokens ?? 0,
        };
      } catch (error) {
        if (signal?.aborted) throw error;
        // This prompt will never be answered; the others may.
        if (error instanceof OpenAI.APIError && unanswerable.has(error.status))
          return { text: "", finish: "refused", promptTokens: 0, completionTokens: 0 };
        throw new GatewayError("engine_unavailable", `${baseURL} did not answer: ${(error as Error).message}`, { cause: error });
      }
    },
  };
}

/** US dollars, or any other coin, for a million tokens. */
export interface Prices {
  readonly input: number;
  readonly output: number;
}

export function costOf({ input, output }: Prices, tokens: { readonly promptTokens: number; readonly completionTokens: number }): number {
  return (input * tokens.promptTokens + output * tokens.completionTokens) / 1_000_000;
}
