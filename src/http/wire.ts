/** @module What clients send: only the fields that are used, checked by zod. Unknown fields are ignored, as OpenAI's clients expect. */
import type { Context } from "hono";
import { z } from "zod";
import type { Conversation, Role } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";

const textPart = z.object({ type: z.literal("text", "only text parts can be read by this model"), text: z.string() });
const content = z.union([z.string(), z.array(textPart)], "must be a string or a list of text parts");

const messageSchema = z
  .object({
    role: z.enum(["system", "developer", "user", "assistant", "tool"]),
    content: content.nullish(),
    tool_calls: z.array(z.unknown()).max(0, "tool calls are not supported yet").nullish(),
  })
  .superRefine((message, context) => {
    if (message.role !== "assistant" && (message.content === undefined || message.content === null))
      context.addIssue({ code: "custom", path: ["content"], message: `a message of role ${message.role} needs content` });
  });

export const messagesSchema = z.array(messageSchema).min(1, "must hold at least one message");

export function toConversation(messages: z.output<typeof messagesSchema>): Conversation {
  return messages.map((message) => ({ role: toRole(message.role), content: toText(message.content) }));
}

function toRole(role: z.output<typeof messageSchema>["role"]): Role {
  return role === "developer" ? "system" : role;
}

/** Text parts are pieces of one text, as chat templates join them. */
function toText(given: z.output<typeof content> | null | undefined): string {
  return typeof given === "string" ? given : (given ?? []).map((part) => part.text).join("");
}

/** The request's body against a schema. Throws "unsupported_media_type", or "invalid_request" naming the field. */
export async function readBody<Schema extends z.ZodType>(c: Context, schema: Schema): Promise<z.output<Schema>> {
  const type = c.req.header("content-type");
  if (type !== undefined && !/^application\/(?:[\w.+-]+\+)?json\b/iu.test(type))
    throw new GatewayError("unsupported_media_type", `The body must be JSON (content-type: application/json), not ${type}.`);
  let json: unknown;
  try {
    json = JSON.parse(await c.req.text());
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new GatewayError("invalid_request", `The body is not valid JSON: ${error.message}`, { cause: error });
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path.join(".") ?? "";
  throw new GatewayError(
    "invalid_request",
    path === "" ? `Invalid body: ${issue?.message}` : `Invalid '${path}': ${issue?.message}`,
    path === "" ? {} : { param: path },
  );
}
