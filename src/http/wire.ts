/**
 * @module What clients send: only the fields that are used, checked by zod. Unknown fields are ignored, as OpenAI's
 * clients expect.
 */
import type { Context } from "hono";
import { z } from "zod";
import { type Overrides, overridesSchema } from "../policy/schema.ts";
import type { Conversation, ToolCall } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import { content, toText } from "./text-content.ts";
import { strayResults, withResultsInPlace } from "./tool-results.ts";

/** What OpenAI allows as the name of a function or a schema. */
export const functionName = z.string().regex(/^[\w-]{1,64}$/u, "may hold up to 64 letters, digits, '_' and '-'");

/** Of a request, and calls of a message. */
export const maxTools = 128;

const functionCall = z.object({
  id: z.string(),
  type: z.literal("function").nullish(),
  function: z.object({ name: functionName, arguments: z.string() }),
});
const customCall = z.object({
  id: z.string(),
  type: z.literal("custom"),
  custom: z.object({ name: functionName, input: z.string() }),
});
const toolCall = z.discriminatedUnion(
  "type",
  [functionCall, customCall],
  "only calls of functions and custom tools are known",
);

/** What a custom tool takes, as a function's arguments. */
export function customArguments(input: string): string {
  return JSON.stringify({ input });
}

/** Of who speaks. */
const longestName = 256;

const messageSchema = z
  .object({
    role: z.enum(["system", "developer", "user", "assistant", "tool"]),
    content: content.nullish(),
    tool_calls: z.array(toolCall).max(maxTools).nullish(),
    tool_call_id: z.string().nullish(),
    name: z.string().max(longestName).nullish(),
  })
  .superRefine(({ role, tool_calls, tool_call_id }, context) => {
    const complain = (field: string, message: string) => context.addIssue({ code: "custom", path: [field], message });
    if (tool_calls?.length && role !== "assistant")
      complain("tool_calls", "only an assistant's message can hold tool calls");
    if (role === "tool" && !tool_call_id)
      complain("tool_call_id", "a message of role tool needs the id of the call that it answers");
  });

export const maxMessages = 2_048;

export const messagesSchema = z
  .array(messageSchema)
  .min(1, "must hold at least one message")
  .max(maxMessages, `must hold at most ${maxMessages} messages`)
  .superRefine((messages, context) => {
    const said = messages.map(({ role, tool_calls, tool_call_id }) => ({
      calls: (tool_calls ?? []).map(({ id }) => id),
      answers: (role === "tool" && tool_call_id) || undefined,
    }));
    for (const index of strayResults(said))
      context.addIssue({
        code: "custom",
        path: [index, "tool_call_id"],
        message: "no message holds a call of this id",
      });
  });

/** What is empty in one way is empty in all: null, no parts, nothing at all. */
export function toConversation(messages: z.output<typeof messagesSchema>): Conversation {
  return withResultsInPlace(
    messages.map(({ role, content, tool_calls, tool_call_id, name }) => ({
      role: role === "developer" ? "system" : role,
      content: toText(content),
      ...(tool_calls?.length && { toolCalls: tool_calls.map(toToolCall) }),
      ...(role === "tool" && { toolCallId: tool_call_id ?? "" }),
      ...(name && { name }),
    })),
  );
}

function toToolCall(call: z.output<typeof toolCall>): ToolCall {
  if (call.type === "custom")
    return { id: call.id, name: call.custom.name, arguments: customArguments(call.custom.input) };
  return { id: call.id, name: call.function.name, arguments: call.function.arguments };
}

/** The models' names go back with each piece of an answer. */
export const modelName = z.string().max(256);

/** As many as OpenAI takes. */
const mostBiases = 300;

/** What the protocols have in common. */
export const samplingFields = {
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: z
    .record(z.string().regex(/^\d{1,9}$/u, "must name tokens by their numbers"), z.number().min(-100).max(100))
    .refine((biases) => Object.keys(biases).length <= mostBiases, `may hold at most ${mostBiases} tokens`)
    .nullish(),
  seed: z.int().nullish(),
};

/** Who asks; each request is hashed by it. */
export const userName = z.string().max(1_024).nullish();

/** Who asks, and what only this gateway knows. */
export const gatewayFields = {
  user: userName,
  safety_identifier: userName,
  icdpo: z.object({ explain: z.boolean().nullish(), overrides: overridesSchema.nullish() }).nullish(),
};

const gatewayBody = z.object(gatewayFields);

export function toGatewayFields({ user, safety_identifier, icdpo }: z.output<typeof gatewayBody>) {
  // An empty name names nobody.
  return {
    user: user || safety_identifier || undefined,
    overrides: (icdpo?.overrides ?? undefined) as Overrides | undefined,
  };
}

/** OpenAI takes four; llama.cpp's and vLLM's users have more. */
const maxStops = 16;
/** Each token is held against every beginning of a stop string. */
const longestStop = 128;
const stopString = z.string().max(longestStop);

export const stopList = z.array(stopString).max(maxStops);

export const stopStrings = z
  .union(
    [stopString, stopList],
    `must be a string or up to ${maxStops} strings, none of them longer than ${longestStop} characters`,
  )
  .nullish();

/** -1 says no more than that the client has no bound of its own, as null does. */
export const tokenBound = z.union([z.literal(-1), z.int().min(1)], "must be at least 1, or -1: no bound of its own");

export function toBound(...bounds: readonly (number | null | undefined)[]): number | undefined {
  const bound = bounds.find((one) => one !== undefined && one !== null);
  return bound === undefined || bound < 0 ? undefined : bound;
}

/** -1 is a random seed, as in llama.cpp and Ollama. */
export function toSeed(seed: number | null | undefined): number | undefined {
  return seed === -1 ? undefined : (seed ?? undefined);
}

const mostPairs = 16;

export const metadata = z
  .record(z.string().max(64), z.string().max(512))
  .refine((pairs) => Object.keys(pairs).length <= mostPairs, `may hold at most ${mostPairs} pairs`)
  .nullish();

/** An empty string stops nothing. */
export function toStops(stop: z.output<typeof stopStrings>): string[] {
  return (typeof stop === "string" ? [stop] : (stop ?? [])).filter((one) => one !== "");
}

/** What a stream is to tell. */
export const streamOptions = z
  .object({
    include_usage: z.boolean().nullish(),
    continuous_usage_stats: z.literal(false, "is not supported: usage comes at the end").nullish(),
  })
  .nullish();

export function biasMap(bias: Readonly<Record<string, number>> | null | undefined): ReadonlyMap<number, number> {
  return new Map(Object.entries(bias ?? {}).map(([token, value]) => [Number(token), value]));
}

export interface Refusal {
  readonly reason: string;
  /** Values that ask for nothing. */
  readonly harmless: readonly unknown[];
}

/** Complains about fields that would silently have no effect. */
export function refuse(
  body: Readonly<Record<string, unknown>>,
  refusals: Readonly<Record<string, Refusal>>,
  context: z.core.$RefinementCtx,
): void {
  // A body has fewer fields than there are refusals.
  for (const field of Object.keys(body)) {
    const refusal = Object.hasOwn(refusals, field) ? refusals[field] : undefined;
    const value = body[field];
    if (refusal === undefined || value === undefined || value === null || asksForNothing(value, refusal)) continue;
    const params = { code: "unsupported_parameter" };
    const message = `is not supported: ${refusal.reason}`;
    context.addIssue({ code: "custom", path: [field], message, input: value, params });
  }
}

function asksForNothing(value: unknown, { harmless }: Refusal): boolean {
  const text = JSON.stringify(value);
  return harmless.some((one) => JSON.stringify(one) === text);
}

/** A path may go through a client's own words. */
const longestPath = 200;

/** The request's body against a schema. Throws "unsupported_media_type", or "invalid_request" naming the field. */
export async function readBody<Schema extends z.ZodType>(c: Context, schema: Schema): Promise<z.output<Schema>> {
  const type = c.req.header("content-type");
  // A page of another site cannot say so without being asked first whether it may.
  if (type === undefined || !/^application\/(?:[\w.+-]+\+)?json\b/iu.test(type)) {
    const given = type === undefined ? "; the request does not say what it is" : `, not ${type}`;
    throw new GatewayError("unsupported_media_type", `The body must be JSON (content-type: application/json)${given}.`);
  }
  const body = c.get("body");
  const text = decodeBody(await body.bytes());
  const values = countValues(text);
  if (values > quicklyRead) await body.turn();
  const parsed = schema.safeParse(parseJson(text, values));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = (issue?.path.join(".") ?? "").slice(0, longestPath);
  throw new GatewayError(
    issue?.code === "custom" && issue.params?.["code"] === "unsupported_parameter"
      ? "unsupported_parameter"
      : "invalid_request",
    path === "" ? `Invalid body: ${issue?.message}` : `Invalid '${path}': ${issue?.message}`,
    path === "" ? {} : { param: path },
  );
}

function decodeBody(bytes: Uint8Array): string {
  if (bytes.byteLength === 0) throw new GatewayError("invalid_request", "The body is empty; it must be a JSON object.");
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new GatewayError("invalid_request", "The body is not UTF-8.", { cause: error });
  }
}

/** How deep lists and objects may stand in each other. */
const deepest = 100;
/** Values and names, each of which takes zod a microsecond or two. */
const mostValues = 200_000;
/** More, and reading them holds the event loop up, above all where they are wrong. */
const quicklyRead = 512;
/** Of these, values that are not in a list of token ids: each that is wrong takes ten times as long. */
const mostOthers = 2 ** 15;
/** Half a surrogate pair can only come from an escape. */
const surrogateEscape = /\\u[dD][89a-fA-F]/u;

/** Values and names. Throws "invalid_request" for too many, and where they stand too deep in each other. */
function countValues(text: string): number {
  const { depth, values } = shapeOf(text);
  if (values > mostValues)
    throw new GatewayError("invalid_request", `The body holds more than ${mostValues} values and names.`);
  if (depth > deepest)
    throw new GatewayError(
      "invalid_request",
      `The body's lists and objects stand more than ${deepest} deep in each other.`,
    );
  return values;
}

/** Half surrogate pairs, which no tokenizer can read, become U+FFFD. Throws "invalid_request". */
function parseJson(text: string, values: number): unknown {
  try {
    const body: unknown = surrogateEscape.test(text) ? JSON.parse(text, wellFormed) : JSON.parse(text);
    if (values > mostOthers && countOthers(body) > mostOthers)
      throw new GatewayError(
        "invalid_request",
        `The body holds more than ${mostOthers} values that are not token ids.`,
      );
    return body;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new GatewayError("invalid_request", `The body is not valid JSON: ${error.message}`, { cause: error });
  }
}

function wellFormed(_key: string, value: unknown): unknown {
  return typeof value === "string" ? value.toWellFormed() : value;
}

/** How deep its lists and objects stand in each other, and how many values and names they hold. */
function shapeOf(text: string): { readonly depth: number; readonly values: number } {
  let [depth, deepest, separators] = [0, 0, 0];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === quote) i = endOfString(text, i);
    else if (code === comma || code === colon) separators += 1;
    else if (code === leftBrace || code === leftBracket) {
      deepest = Math.max(deepest, ++depth);
      separators += 1;
    } else if (code === rightBrace || code === rightBracket) depth -= 1;
  }
  return { depth: deepest, values: separators + 1 };
}

const [quote, comma, colon, backslash] = [0x22, 0x2c, 0x3a, 0x5c];
const [leftBracket, rightBracket, leftBrace, rightBrace] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Where the string that begins at `start` ends: at the first quotation mark after it that no odd number of backslashes
 * stands before.
 */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text.charCodeAt(before) === backslash) before -= 1;
    if ((end - before) % 2 === 1) return end;
  }
  return text.length;
}

/** Values that stand in no list of token ids alone. */
function countOthers(body: unknown): number {
  const rest: unknown[] = [body];
  let count = 0;
  for (let value = rest.pop(); value !== undefined; value = rest.pop()) {
    if (typeof value !== "object" || value === null || (Array.isArray(value) && value.every(isTokenId))) continue;
    const inside = Object.values(value);
    count += inside.length;
    for (const one of inside) if (typeof one === "object") rest.push(one);
  }
  return count;
}

function isTokenId(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
