/** @module Content blocks of Anthropic's protocol, and the conversation that they make up. */
import { z } from "zod";
import { isRecord } from "../../text/json.ts";
import type { Conversation, Message, ToolCall } from "../../types/conversation.ts";
import { worded } from "../text-content.ts";
import { strayResults, withResultsInPlace } from "../tool-results.ts";

/** What Anthropic allows as the name of a tool. */
export const toolName = z.string().regex(/^[\w-]{1,128}$/u, "may hold up to 128 letters, digits, '_' and '-'");

/** A string, or a list of blocks of the given types. Others are refused by their place. */
function contentOf<Block extends z.ZodType>(types: readonly string[], block: Block) {
  const other = z
    .looseObject({ type: z.string().refine((type) => !types.includes(type), { abort: true }) })
    .transform(({ type }, context): never => {
      const message = `blocks of type "${type}" cannot be read by this model, which reads text only`;
      context.addIssue({ code: "custom", path: ["type"], message, input: type, continue: true });
      return z.NEVER;
    });
  const known = z.union([block, other], { error: ({ errors }) => worded(errors[0]?.[0]) });
  const error = ({ input, errors }: { readonly input?: unknown; readonly errors: z.core.$ZodIssue[][] }): string =>
    Array.isArray(input) ? `block ${worded(errors[1]?.[0])}` : "must be a string or a list of blocks";
  return z.union([z.string(), z.array(known)], { error });
}

const textBlock = z.object({ type: z.literal("text"), text: z.string() });
const documentBlock = z.object({
  type: z.literal("document"),
  title: z.string().nullish(),
  context: z.string().nullish(),
  source: z.looseObject({ type: z.string(), data: z.string().nullish() }).superRefine(({ type }, context) => {
    const message = `documents of type "${type}" cannot be read by this model, which reads plain text only`;
    if (type !== "text") context.addIssue({ code: "custom", path: ["type"], message });
  }),
});
/** A tool that was found: all tools of a request are offered to the model as they are. */
const toolReference = z.object({ type: z.literal("tool_reference"), tool_name: z.string() });

const resultContent = contentOf(
  ["text", "document", "tool_reference"],
  z.discriminatedUnion("type", [textBlock, documentBlock, toolReference]),
);
const toolUse = z.object({
  type: z.literal("tool_use"),
  id: z.string(),
  name: toolName,
  input: z.record(z.string(), z.unknown()).nullish(),
});
const toolResult = z.object({
  type: z.literal("tool_result"),
  tool_use_id: z.string(),
  content: resultContent.nullish(),
  is_error: z.boolean().nullish(),
});
/** Clients send back what was thought; what nobody here can read of it is left out. */
const thinking = z.object({ type: z.enum(["thinking", "redacted_thinking"]), thinking: z.string().nullish() });

const content = contentOf(
  ["text", "document", "tool_use", "tool_result", "thinking", "redacted_thinking"],
  z.discriminatedUnion("type", [textBlock, documentBlock, toolUse, toolResult, thinking]),
);

export const systemSchema = contentOf(["text"], textBlock).nullish();

export const messageSchema = z
  .object({ role: z.enum(["user", "assistant", "system"]), content })
  .superRefine(({ role, content }, context) => {
    const speakers: Readonly<Record<string, string>> = { tool_use: "assistant", tool_result: "user" };
    for (const [index, { type }] of (typeof content === "string" ? [] : content).entries()) {
      const speaker = speakers[type] ?? role;
      const message = `only a message of role ${speaker} can hold a block of type ${type}`;
      if (speaker !== role) context.addIssue({ code: "custom", path: ["content", index, "type"], message });
    }
  });

/** Blocks in blocks included. Each that is wrong costs more than ten that are right. */
export const maxBlocks = 4_096;

/** Of a content that nobody has checked. */
export function countBlocks(content: unknown): number {
  if (!Array.isArray(content)) return 0;
  return content.reduce(
    (sum: number, block: unknown) => sum + 1 + (isRecord(block) ? countBlocks(block["content"]) : 0),
    0,
  );
}

type GivenMessage = z.output<typeof messageSchema>;
type Block = Exclude<GivenMessage["content"], string>[number];
type Readable = Block | Exclude<NonNullable<z.output<typeof resultContent>>, string>[number];

/** Complains about results of calls that no message holds. */
export function checkCalls(messages: readonly GivenMessage[], context: z.core.$RefinementCtx): void {
  const blocks = messages.flatMap(({ content }, place) =>
    (typeof content === "string" ? [] : content).map((block, index) => ({ block, place, index })),
  );
  const said = blocks.map(({ block }) => ({
    calls: block.type === "tool_use" ? [block.id] : [],
    answers: block.type === "tool_result" ? block.tool_use_id : undefined,
  }));
  for (const stray of strayResults(said)) {
    const { place, index } = blocks[stray] as (typeof blocks)[number];
    const path = ["messages", place, "content", index, "tool_use_id"];
    context.addIssue({ code: "custom", path, message: "no message holds a call of this id" });
  }
}

/**
 * Names the client's version, and may change with each request: nothing that the model should read, or that a prompt
 * can be found by again.
 */
const billing = /^x-anthropic-billing-header:/u;

export function toConversation(system: z.output<typeof systemSchema>, messages: readonly GivenMessage[]): Conversation {
  const blocks = typeof system === "string" ? [{ type: "text", text: system } as const] : (system ?? []);
  const own = textOf(
    blocks.filter(({ text }) => !billing.test(text)),
    paragraph,
  );
  const turns: Turn[] = own === "" ? [] : [{ role: "system", texts: [own], toolCalls: [] }];
  for (const turn of messages.flatMap(toTurns)) {
    const last = turns.at(-1);
    if (last === undefined || last.role !== turn.role || !joined.has(turn.role)) turns.push(turn);
    else {
      for (const text of turn.texts) last.texts.push(text);
      for (const call of turn.toolCalls) last.toolCalls.push(call);
    }
  }
  return withResultsInPlace(turns.map(toMessage));
}

/** One speaker's, before what stands in a row is put together. */
interface Turn {
  readonly role: Message["role"];
  readonly texts: string[];
  readonly toolCalls: ToolCall[];
  readonly thoughts?: readonly string[];
  readonly toolCallId?: string;
}

/** Two turns in a row of one of these are one turn. */
const joined: ReadonlySet<string> = new Set(["user", "assistant"]);

/**
 * Results of calls come before what the user says to them. Who says nothing has no turn: an assistant may have thought
 * only.
 */
function toTurns({ role, content }: GivenMessage): Turn[] {
  const blocks = typeof content === "string" ? [{ type: "text", text: content } as const] : content;
  const results = blocks.flatMap((block) => (block.type === "tool_result" ? [toResult(block)] : []));
  const toolCalls = blocks.flatMap((block) => (block.type === "tool_use" ? [toCall(block)] : []));
  const text = textOf(blocks, role === "assistant" ? "" : paragraph);
  const isSilent = text === "" && toolCalls.length === 0 && (role === "assistant" || results.length > 0);
  const thoughts = blocks.flatMap((block) => (block.type === "thinking" && block.thinking ? [block.thinking] : []));
  return isSilent ? results : [...results, { role, texts: [text], toolCalls, thoughts }];
}

function toResult({ tool_use_id, content, is_error }: z.output<typeof toolResult>): Turn {
  const said = typeof content === "string" ? content : textOf(content ?? [], paragraph);
  return { role: "tool", texts: [is_error ? `Error: ${said}` : said], toolCalls: [], toolCallId: tool_use_id };
}

function toCall({ id, name, input }: z.output<typeof toolUse>): ToolCall {
  return { id, name, arguments: JSON.stringify(input ?? {}) };
}

function toMessage({ role, texts, toolCalls, thoughts = [], toolCallId }: Turn): Message {
  const content = texts.filter((text) => text !== "").join(paragraph);
  const thought = role === "assistant" && thoughts.length > 0 && { thought: thoughts.join(paragraph) };
  const calls = { ...(toolCalls.length > 0 && { toolCalls }), ...(toolCallId !== undefined && { toolCallId }) };
  return { role, content, ...thought, ...calls };
}

const paragraph = "\n\n";

/** A user's blocks are texts of their own; an assistant's are pieces of one. */
function textOf(blocks: readonly Readable[], separator: string): string {
  return blocks
    .map(readText)
    .filter((text) => text !== "")
    .join(separator);
}

function readText(block: Readable): string {
  switch (block.type) {
    case "text":
      return block.text;
    case "document":
      return [block.title, block.context, block.source.data].filter((text) => text).join("\n");
    case "tool_reference":
      return block.tool_name;
    case "tool_use":
    case "tool_result":
    case "thinking":
    case "redacted_thinking":
      return "";
  }
}
