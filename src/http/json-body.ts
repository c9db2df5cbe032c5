/** @module A request's body as JSON of a schema: how much it may hold is counted before anything reads it whole. */
import type { Context } from "hono";
import type { z } from "zod";
import { GatewayError } from "../types/error.ts";

/** A path may go through a client's own words. */
const longestPath = 200;

/**
 * The request's body against a schema, or the one that is for such a body. Throws "unsupported_media_type", or
 * "invalid_request" naming the field.
 */
export async function readBody<Body>(
  c: Context,
  schema: z.ZodType<Body> | ((body: unknown) => z.ZodType<Body>),
): Promise<Body> {
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
  const given = parseJson(text, values);
  const parsed = (typeof schema === "function" ? schema(given) : schema).safeParse(given);
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
