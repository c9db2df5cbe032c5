/** @module A better model behind any OpenAI-compatible endpoint, and what it costs to ask it. */
import OpenAI from "openai";
import { z } from "zod";
import { describedAnswer } from "../client/answer-size.ts";
import { boundedFetch } from "../client/bounded-fetch.ts";
import { isRedirect, redirected } from "../client/redirect.ts";
import { contentSchema } from "../engine/openai/openai-sampling.ts";
import { parsedJson } from "../text/json.ts";
import { quoted } from "../text/quoted.ts";
import { withoutThought } from "../text/without-thought.ts";
import { GatewayError } from "../types/error.ts";

export interface TeacherOptions {
  readonly baseURL: string;
  readonly apiKey: string;
  readonly model: string;
  readonly maxTokens: number;
  readonly temperature?: number | undefined;
  /** Of a call that failed for a reason that may pass (429, 5xx, no connection), with growing pauses. */
  readonly retries: number;
  /** Told what the endpoint does not take, and is asked without. */
  readonly report: (line: string) => void;
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
  /** Without what the model thought; "" where the prompt is refused, or where the model said nothing. */
  readonly text: string;
  /**
   * "length": cut off; "refused": the endpoint says that its content filter will not have this prompt, or its answer.
   */
  readonly finish: "stop" | "length" | "refused";
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export interface Teacher {
  readonly model: string;
  /** What its answers depend on beside the question: endpoint, model and settings. */
  readonly id: string;
  /**
   * The same `key`, the same call: an endpoint that knows idempotency keys does not count it twice. An endpoint without
   * JSON schemas is asked without `form`: the messages must say what is wanted too. Throws "engine_unavailable",
   * whatever is wrong but a refusal of the prompt, and "engine_failure" where the answer is far larger than one of so
   * many tokens.
   */
  ask(messages: readonly Message[], key: string, signal?: AbortSignal, form?: AnswerForm): Promise<TeacherAnswer>;
}

const callMs = 300_000;

/** What an endpoint may not take: limits, temperatures and forms by these names. */
type Field = "max_tokens" | "temperature" | "response_format";

export function openTeacher(options: TeacherOptions): Teacher {
  const { baseURL, apiKey, model, maxTokens, temperature, retries, report } = options;
  const bounds = { name: baseURL, most: describedAnswer([maxTokens]).whole, wholeMs: callMs };
  const client = new OpenAI({
    baseURL,
    apiKey,
    maxRetries: retries,
    timeout: callMs,
    fetch: withOwnWords(boundedFetch(fetch, bounds)),
  });
  /** For as long as the teacher lasts: what is refused once is refused always. */
  const refused = new Set<Field>();
  const said = (words: string): string => (words !== "" ? ` ${quoted(words, mostWords)}` : "");
  const failure = (what: string, words = "", cause?: unknown): GatewayError =>
    new GatewayError("engine_unavailable", `${baseURL} did not answer: ${what}${said(words)}`, { cause });

  async function call(body: Body, key: string, signal: AbortSignal | undefined): Promise<TeacherAnswer> {
    // The client's own option for it sends nothing. Another body under the same key would be another call.
    const headers = { "idempotency-key": [key, ...refused].join("-without-") };
    const answer: unknown = await client.chat.completions.create(body, { headers, ...(signal && { signal }) });
    const { data, success } = completionSchema.safeParse(answer);
    if (success) return answerOf(data, failure);
    if (isFiltered(answer)) return nothing;
    throw failure("what came is no answer", JSON.stringify(answer));
  }

  return {
    model,
    id: JSON.stringify({ baseURL, model, maxTokens, temperature }),
    async ask(messages, key, signal, form) {
      for (;;) {
        const body = {
          model,
          messages: [...messages],
          ...(refused.has("max_tokens") ? { max_completion_tokens: maxTokens } : { max_tokens: maxTokens }),
          ...(temperature !== undefined && !refused.has("temperature") && { temperature }),
          ...(form !== undefined &&
            !refused.has("response_format") && {
              response_format: { type: "json_schema" as const, json_schema: { ...form, strict: true } },
            }),
        };
        try {
          return await call(body, key, signal);
        } catch (error) {
          if (signal?.aborted || error instanceof GatewayError) throw error;
          if (!(error instanceof OpenAI.APIError))
            throw failure("what came cannot be read", (error as Error).message, error);
          if (isFiltered(error.error)) return nothing;
          const field = refusedField(error, body);
          if (field === null) throw failure(statusOf(error), wordsOf(error), error);
          if (!refused.has(field))
            report(`${baseURL} takes no ${field}, and is asked ${instead[field]}.${said(wordsOf(error))}`);
          refused.add(field);
        }
      }
    },
  };
}

type Body = OpenAI.Chat.Completions.ChatCompletionCreateParamsNonStreaming;

const nothing: TeacherAnswer = { text: "", finish: "refused", promptTokens: 0, completionTokens: 0 };
const mostWords = 500;

const instead: Readonly<Record<Field, string>> = {
  max_tokens: "with max_completion_tokens",
  temperature: "without it, at a temperature of its own",
  response_format: "in words",
};

const completionSchema = z.object({
  choices: z
    .array(
      z.object({
        finish_reason: z.string().nullish(),
        message: z.object({ content: contentSchema.nullish(), refusal: z.string().nullish() }),
      }),
    )
    .min(1),
  usage: z.object({ prompt_tokens: z.number(), completion_tokens: z.number() }).nullish(),
});

/** What endpoints say at an answer's end, in the words used here. */
const finishes: ReadonlyMap<string, TeacherAnswer["finish"]> = new Map([
  ...["stop", "eos", "eos_token", "stop_sequence", "end_turn"].map((word) => [word, "stop"] as const),
  ...["length", "max_tokens"].map((word) => [word, "length"] as const),
  ...["content_filter", "safety", "sensitive", "refusal"].map((word) => [word, "refused"] as const),
]);

function answerOf(
  { choices, usage }: z.output<typeof completionSchema>,
  failure: (words: string) => GatewayError,
): TeacherAnswer {
  const [{ finish_reason: said, message } = { finish_reason: null, message: {} }] = choices;
  const finish = message.refusal ? "refused" : finishes.get((said ?? "stop").toLowerCase());
  if (finish === undefined) throw failure(`it ended an answer with ${quoted(said ?? "", 40)}`);
  return {
    text: finish === "refused" ? "" : withoutThought(message.content?.text ?? "").trim(),
    finish,
    promptTokens: usage?.prompt_tokens ?? 0,
    completionTokens: usage?.completion_tokens ?? 0,
  };
}

/**
 * Codes by which endpoints say that it is the prompt's content that they refuse: Azure's and OpenAI's, which others
 * took over, and Alibaba's. Nothing else that is wrong with a call is about the prompt.
 */
const filterCodes: ReadonlySet<unknown> = new Set([
  "content_filter",
  "content_policy_violation",
  "ResponsibleAIPolicyViolation",
  "invalid_prompt",
  "moderation_blocked",
  "data_inspection_failed",
  "DataInspectionFailed",
]);

/**
 * Codes stand at several depths: Azure's in `innererror`, in what passes it on deeper still. OpenRouter has no code but
 * shows what it flagged.
 */
function isFiltered(error: unknown, depth = deepestCode): boolean {
  if (typeof error !== "object" || error === null || depth === 0) return false;
  return Object.entries(error).some(
    ([key, value]) =>
      (["code", "type"].includes(key) && filterCodes.has(value)) ||
      key === "flagged_input" ||
      isFiltered(value, depth - 1),
  );
}

const deepestCode = 8;

type ApiError = InstanceType<typeof OpenAI.APIError>;

/** A status, and a code where it is a name; what went wrong on the way is in the client's own words. */
function statusOf({ status, code, type, message }: ApiError): string {
  if (status === undefined) return message;
  const name = [code, type].find((one) => typeof one === "string" && /^[\w.-]{1,64}$/u.test(one));
  return name ? `${status} (${name})` : String(status);
}

/** The client puts the status before them. */
function wordsOf({ status, message }: ApiError): string {
  return status === undefined ? "" : message.replace(`${status} `, "");
}

/** The field of the body that the endpoint does not take, if that is what is wrong. */
function refusedField({ status, code, param, message }: ApiError, body: Body): Field | null {
  if (status !== 400 && status !== 422) return null;
  const isNamed = (field: Field): boolean => field in body && (param === field || message.includes(field));
  if (isNamed("response_format")) return "response_format";
  // A number may also be out of range, which is for the caller to mend.
  if (!unsupported.test(`${code} ${message}`)) return null;
  return isNamed("max_tokens") ? "max_tokens" : isNamed("temperature") ? "temperature" : null;
}

const unsupported = /not? (?:longer )?support|unsupported|unrecognized|unknown|deprecated|not (?:permitted|allowed)/iu;

/** Errors as OpenAI writes them, `{"error": …}`, whatever the endpoint writes: its client shows no other's words. */
function withOwnWords(fetch: typeof globalThis.fetch): typeof globalThis.fetch {
  return async (input, init) => {
    const response = await fetch(input, { ...init, redirect: "manual" });
    if (response.ok) return response;
    const { status, statusText, headers } = response;
    const url = input instanceof Request ? input.url : String(input);
    const words = isRedirect(status) ? redirected(url, headers.get("location")).message : await response.text();
    return new Response(JSON.stringify(asOpenAiError(words)), { status, statusText, headers });
  };
}

function asOpenAiError(words: string): unknown {
  const body = parsedJson(words);
  if (body === undefined) return { error: { message: words } };
  return typeof body === "object" && body !== null && "error" in body ? body : { error: body };
}

/** US dollars, or any other coin, for a million tokens. */
export interface Prices {
  readonly input: number;
  readonly output: number;
}

export function costOf(
  { input, output }: Prices,
  tokens: { readonly promptTokens: number; readonly completionTokens: number },
): number {
  return (input * tokens.promptTokens + output * tokens.completionTokens) / 1_000_000;
}
