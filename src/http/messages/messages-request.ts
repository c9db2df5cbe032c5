/**
 * @module The body of POST /v1/messages, Anthropic's protocol: each field works, is named in a header as having no
 * effect, or is refused by name.
 */
import { z } from "zod";
import type { AnswerFormat, Generation, ToolChoice } from "../../gateway/generation.ts";
import type { AskedReasoning } from "../../policy/reasoning-schema.ts";
import { isRecord } from "../../text/json.ts";
import { checkGuided, guidedFields, toGuidedFormat } from "../guided.ts";
import { vainHeaders } from "../in-vain.ts";
import { byBudget } from "../reasoning-fields.ts";
import { samplingFields, stopList, toSampling, toSeed } from "../sampling-fields.ts";
import { jsonSchemaFormat, toFormat } from "../schema-format.ts";
import {
  refusedParameters,
  refuseOthers,
  serverPromptFields,
  toServerPrompt,
  withoutEffect,
} from "../server-parameters.ts";
import { worded } from "../text-content.ts";
import { gatewayFields, maxMessages, maxTools, refuse, toGatewayFields, userName } from "../wire.ts";
import {
  checkCalls,
  countBlocks,
  maxBlocks,
  messageSchema,
  systemSchema,
  toConversation,
  toolName,
} from "./messages-content.ts";

const ownTool = z.object({
  type: z.literal("custom").nullish(),
  name: toolName,
  description: z.string().nullish(),
  input_schema: z.record(z.string(), z.unknown()),
  strict: z.boolean().nullish(),
});
type OwnTool = z.output<typeof ownTool>;
/** Anthropic runs them, or has taught its models how to call them. */
const otherTool = z.looseObject({ type: z.string().refine((type) => type !== "custom", { abort: true }) });
const tool = z.union([ownTool, otherTool], { error: ({ errors }) => worded(errors[0]?.[0]) });

const parallel = { disable_parallel_tool_use: z.boolean().nullish() };
const toolChoice = z.discriminatedUnion("type", [
  z.object({ type: z.literal("auto"), ...parallel }),
  z.object({ type: z.literal("any"), ...parallel }),
  z.object({ type: z.literal("tool"), name: z.string(), ...parallel }),
  z.object({ type: z.literal("none") }),
]);

const format = jsonSchemaFormat.nullish();

/** What is about the prompt: all that tokens are counted of. */
const promptFields = {
  model: z.string(),
  messages: z
    .array(messageSchema)
    .min(1, "must hold at least one message")
    .max(maxMessages, `must hold at most ${maxMessages} messages`),
  system: systemSchema,
  tools: z.array(tool).max(maxTools).nullish(),
  tool_choice: toolChoice.nullish(),
  output_config: z.looseObject({ format }).nullish(),
  /** As earlier betas wrote it. */
  output_format: format,
  thinking: z.looseObject({ type: z.string(), budget_tokens: z.int().min(0).nullish() }).nullish(),
  ...serverPromptFields,
  ...guidedFields,
};

/** What would need other machines than this one. */
const refusals = {
  mcp_servers: { reason: "the gateway calls no MCP servers; give their tools as tools of the request", harmless: [[]] },
  container: { reason: "there is no container that code could run in", harmless: [] },
};

export const countTokensBodySchema = z.looseObject(promptFields).superRefine(check);

export const messagesBodySchema = z
  .looseObject({
    ...promptFields,
    max_tokens: z.int().min(1),
    stream: z.boolean().nullish(),
    stop_sequences: stopList.nullish(),
    ...samplingFields,
    metadata: z.looseObject({ user_id: userName }).nullish(),
    icdpo: gatewayFields.icdpo,
  })
  .superRefine(check);
export type MessagesRequest = z.output<typeof messagesBodySchema>;
type CountTokensRequest = z.output<typeof countTokensBodySchema>;

/** The same schema; lists that are too long are refused before anything in them is looked at. */
export function bounded<Schema extends z.ZodType>(schema: Schema) {
  const lists = z.unknown().superRefine((body, context) => {
    const { messages, system, tools } = isRecord(body) ? body : {};
    const complain = (field: string, most: string) =>
      context.addIssue({ code: "custom", path: [field], message: `must hold at most ${most}` });
    if (Array.isArray(messages) && messages.length > maxMessages)
      return complain("messages", `${maxMessages} messages`);
    if (Array.isArray(tools) && tools.length > maxTools) return complain("tools", `${maxTools} tools`);
    if (countBlocks(system) + countBlocks(messages) - (Array.isArray(messages) ? messages.length : 0) > maxBlocks)
      complain("messages", `${maxBlocks} blocks, those of system among them`);
  });
  return lists.pipe(schema);
}

function check(body: CountTokensRequest, context: z.core.$RefinementCtx): void {
  const complain = (path: (string | number)[], message: string) => context.addIssue({ code: "custom", path, message });
  refuse(body, refusals, context);
  refuseOthers(body, context);
  checkGuided(body, formatOf(body), context);
  checkCalls(body.messages, context);
  const last = body.messages.length - 1;
  if (body.messages[last]?.role === "assistant")
    complain(
      ["messages", last, "role"],
      "the conversation must end with the user: an answer that has begun cannot be gone on with",
    );
  const mustCall = body.tool_choice?.type === "any" || body.tool_choice?.type === "tool";
  if (mustCall && ownTools(body).length === 0)
    complain(["tool_choice"], "is only allowed with tools that have an input_schema");
}

/** What a prompt is made of, and what its answer must keep to. */
export function toPrompt(
  body: CountTokensRequest,
): Pick<
  Generation,
  "conversation" | "tools" | "toolChoice" | "parallelToolCalls" | "format" | "variables" | "cachesPrompt" | "reasoning"
> {
  const { tool_choice: choice } = body;
  return {
    conversation: toConversation(body.system, body.messages),
    tools: choice?.type === "none" ? [] : ownTools(body),
    toolChoice: toToolChoice(choice),
    parallelToolCalls: !(choice && choice.type !== "none" && choice.disable_parallel_tool_use),
    format: toGuidedFormat(body) ?? formatOf(body),
    ...withThinking(toServerPrompt(body), body.thinking),
  };
}

/** `thinking` is this protocol's own word; what other servers know goes as well. */
function withThinking<Prompt extends Pick<Generation, "reasoning">>(
  prompt: Prompt,
  thinking: CountTokensRequest["thinking"],
): Prompt {
  return thinking ? { ...prompt, reasoning: { ...prompt.reasoning, ...toReasoning(thinking) } } : prompt;
}

/** "adaptive" leaves it to the policy. */
function toReasoning({ type, budget_tokens: tokens }: NonNullable<CountTokensRequest["thinking"]>): AskedReasoning {
  if (type === "disabled") return { thinks: false };
  return type === "enabled" ? { thinks: true, ...(tokens && byBudget(tokens)) } : {};
}

/** Claude Code names its session beside the user, who stays the same from one session to the next. */
const session = /"session_id":"[^"]*"|_session_[\w-]+$/u;

export function toGeneration(body: MessagesRequest): Generation {
  return {
    ...toPrompt(body),
    ...(body.thinking && body.thinking.type !== "disabled" && { reasoningField: "thinking" }),
    sampling: toSampling(body, { maxTokens: body.max_tokens, stop: body.stop_sequences }),
    seed: toSeed(body.seed),
    ...toGatewayFields({ user: body.metadata?.user_id?.replace(session, ""), icdpo: body.icdpo }),
    answers: 1,
    topLogprobs: null,
  };
}

function isOwn(tool: z.output<typeof ownTool | typeof otherTool>): tool is OwnTool {
  return tool.type === undefined || tool.type === null || tool.type === "custom";
}

function ownTools({ tools }: CountTokensRequest): Generation["tools"] {
  return (tools ?? []).flatMap((tool, index) => {
    if (!isOwn(tool)) return [];
    const { name, description, input_schema: parameters, strict } = tool;
    const path = `tools.${index}.input_schema`;
    return [{ name, description: description ?? undefined, parameters, path, strict: strict === true }];
  });
}

function toToolChoice(choice: CountTokensRequest["tool_choice"]): ToolChoice {
  if (choice?.type === "any") return "required";
  return choice?.type === "tool" ? { name: choice.name } : "auto";
}

function formatOf({ output_config: config, output_format: earlier }: CountTokensRequest): AnswerFormat {
  return config?.format ? toFormat(config.format, "output_config.format") : toFormat(earlier, "output_format");
}

/** Fields that are known to ask for nothing that could be missed. */
const harmless: ReadonlySet<string> = new Set([
  ...Object.keys(messagesBodySchema.shape),
  ...Object.keys(refusals),
  ...refusedParameters,
  ...withoutEffect,
  "cache_control",
  "service_tier",
]);

/** Headers that name what the request asks for in vain. */
export function inVain(body: CountTokensRequest): Record<string, string> {
  const unknown = Object.keys(body).filter((field) => !harmless.has(field) && body[field] !== null);
  const { format: _, ...config } = body.output_config ?? {};
  const leftOut = (body.tools ?? []).flatMap((tool) => (isOwn(tool) ? [] : [tool.type]));
  const ignored = [...Object.keys(config).map((field) => `output_config.${field}`), ...unknown];
  return vainHeaders({ ignored, leftOut });
}
