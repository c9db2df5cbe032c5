/** @module The pages' forms, as a browser sends them. */
import type { Context } from "hono";
import type { z } from "zod";
import { GatewayError } from "../types/error.ts";

/** Fields of the largest form, and some. */
const mostFields = 16;

/** Throws "invalid_request". */
export async function readForm<Schema extends z.ZodType>(c: Context, schema: Schema): Promise<z.output<Schema>> {
  const text = new TextDecoder().decode(await c.get("body").bytes());
  // Counted before each becomes an object.
  if (
    !c.req.header("content-type")?.startsWith("application/x-www-form-urlencoded") ||
    text.split("&", mostFields + 1).length > mostFields
  )
    throw new GatewayError("invalid_request", "That is no form of this page.");
  const parsed = schema.safeParse(Object.fromEntries(new URLSearchParams(text)));
  if (parsed.success) return parsed.data;
  throw new GatewayError("invalid_request", parsed.error.issues[0]?.message ?? "The form is incomplete.");
}
