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

/** A JSON schema that an answer is to have. */
export interface AnswerForm {
  readonly name: string;
  readonly schema: Readonly<Record<string, unknown>>;
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
  /** What its answers depend on beside the question: endpoint, model and settings. */
  readonly id: string;
  /**
   * The same `key`, the same call: an endpoint that knows idempotency keys does not count it twice. An endpoint without JSON schemas is asked without
   * `form`: the messages must say what is wanted too. Throws "engine_unavailable".
   */
  ask(messages: readonly Message[], key: string, signal?: AbortSignal, form?: AnswerForm): Promise<TeacherAnswer>;
}

const callMs = 300_000;
/** The endpoint understood the call, and refuses what it says. */
const unanswerable: ReadonlySet<number | undefined> = new Set([400, 413, 422]);

export function openTeacher(options: TeacherOptions): Teacher {
  const { baseURL, apiKey, model, maxTokens, temperature, retries } = options;
  const client = new OpenAI({ baseURL, apiKey, maxRetries: retries, timeout: callMs, fetch: withOwnWords });
  let takesForms = true;
  return {
    model,
    id: JSON.stringify({ baseURL, model, maxTokens, temperature }),
    async ask(messages, key, signal, form) {
      for (;;) {
        const isFormed = form !== undefined && takesForms;
        const body = {
          model,
          messages: [...messages],
          max_tokens: maxTokens,
          ...(temperature !== undefined && { temperature }),
          ...(isFormed && { response_format: { type: "json_schema" as const, json_schema: { ...form, strict: true } } }),
        };
        try {
          // The client's own option for it sends nothing. Another body under the same key would be another call.
          const headers = { "idempotency-key": isFormed ? `${key}-formed` : key };
          const { choices, usage } = await client.chat.completions.create(body, { headers, ...(signal && { signal }) });
          return {
            text: choices[0]?.message.content?.trim() ?? "",
            finish: choices[0]?.finish_reason ?? "stop",
            promptTokens: usage?.prompt_tokens ?? 0,
            completionTokens: usage?.completion_tokens ?? 0,
          };
        } catch (error) {
          if (signal?.aborted) throw error;
          if (isFormed && error instanceof OpenAI.APIError && names(error, "response_format")) {
            takesForms = false;
            continue;
          }
          // This prompt will never be answered; the others may.
          if (error instanceof OpenAI.APIError && unanswerable.has(error.status))
            return { text: "", finish: "refused", promptTokens: 0, completionTokens: 0 };
          throw new GatewayError("engine_unavailable", `${baseURL} did not answer: ${(error as Error).message}`, { cause: error });
        }
      }
    },
  };
}

/** The endpoint finds fault with this field of the call. */
function names({ status, param, message }: InstanceType<typeof OpenAI.APIError>, field: string): boolean {
  return unanswerable.has(status) && (param === field || message.includes(field));
}

/** Errors as OpenAI writes them, `{"error": …}`, whatever the endpoint writes: its client shows no other's words. */
const withOwnWords: typeof fetch = async (input, init) => {
  const response = await fetch(input, init);
  if (response.ok) return response;
  const words = await response.text();
  const { status, statusText, headers } = response;
  return new Response(JSON.stringify(asOpenAiError(words)), { status, statusText, headers });
};

function asOpenAiError(words: string): unknown {
  let body: unknown;
  try {
    body = JSON.parse(words);
  } catch {
    return { error: { message: words } };
  }
  return typeof body === "object" && body !== null && "error" in body ? body : { error: body };
}

/** US dollars, or any other coin, for a million tokens. */
export interface Prices {
  readonly input: number;
  readonly output: number;
}

export function costOf({ input, output }: Prices, tokens: { readonly promptTokens: number; readonly completionTokens: number }): number {
  return (input * tokens.promptTokens + output * tokens.completionTokens) / 1_000_000;
}
