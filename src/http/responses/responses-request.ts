/**
 * @module The body of POST /v1/responses, OpenAI's newer protocol: text, tools and schemas, without state on the
 * server.
 */
import { z } from "zod";
import type { AnswerFormat, Generation, ToolChoice } from "../../gateway/generation.ts";
import type { Conversation, Message, ToolCall } from "../../types/conversation.ts";
import {
  functionName,
  gatewayFields,
  jsonSchemaFormat,
  maxMessages,
  maxParts,
  maxTools,
  metadata,
  modelName,
  refuse,
  toGatewayFields,
} from "../wire.ts";

const textPart = z.object({
  type: z.enum(["input_text", "output_text", "text"], "only text parts can be read by this model"),
  text: z.string(),
});
const refusalPart = z.object({ type: z.literal("refusal"), refusal: z.string() });
const content = z.union(
  [
    z.string(),
    z
      .array(z.discriminatedUnion("type", [textPart, refusalPart], "only text parts can be read by this model"))
      .max(maxParts),
  ],
  `must be a string or a list of up to ${maxParts} text parts`,
);

const message = z.object({
  type: z.literal("message").nullish(),
  role: z.enum(["user", "assistant", "system", "developer"]),
  content,
});
const functionCall = z.object({
  type: z.literal("function_call"),
  call_id: z.string(),
  name: functionName,
  arguments: z.string(),
});
const functionCallOutput = z.object({ type: z.literal("function_call_output"), call_id: z.string(), output: content });
/** Clients send back what they were given; this model was not shown its reasoning. */
const reasoning = z.object({ type: z.literal("reasoning") });
/** Told by their type: a wrong one of many is held against one of them, not all four. */
const item = z.discriminatedUnion("type", [message, functionCall, functionCallOutput, reasoning]);

const tool = z.object({
  type: z.literal("function", "only tools of type function can be called"),
  name: functionName,
  description: z.string().nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(),
});

const toolChoice = z.union(
  [z.enum(["none", "auto", "required"]), z.object({ type: z.literal("function"), name: z.string() })],
  "must be none, auto, required or a function of the request's tools",
);

const format = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.object({ type: z.literal("json_object") }),
  jsonSchemaFormat.extend({ type: z.literal("json_schema") }),
]);

/** What would need state on the server, or another model. */
const refusals = {
  store: { reason: "there is no state on the server; leave it out or send false", harmless: [false] },
  previous_response_id: {
    reason: "there is no state on the server; send the whole conversation as input",
    harmless: [],
  },
  conversation: { reason: "there is no state on the server; send the whole conversation as input", harmless: [] },
  background: { reason: "there is no state on the server that the answer could be kept in", harmless: [false] },
  prompt: { reason: "there are no stored prompts", harmless: [] },
  truncation: { reason: "the conversation is not cut", harmless: ["disabled"] },
};

export const responsesBodySchema = z
  .looseObject({
    model: modelName,
    input: z.union(
      [z.string(), z.array(item).min(1).max(maxMessages)],
      `must be a text or up to ${maxMessages} messages, function_calls and their outputs; no state is kept to refer to`,
    ),
    instructions: z.string().nullish(),
    stream: z.boolean().nullish(),
    temperature: z.number().min(0).max(2).nullish(),
    top_p: z.number().min(0).max(1).nullish(),
    max_output_tokens: z.int().min(1).nullish(),
    top_logprobs: z.int().min(0).max(20).nullish(),
    include: z.array(z.string()).max(32).nullish(),
    text: z.object({ format: format.nullish() }).nullish(),
    tools: z.array(tool).max(maxTools).nullish(),
    tool_choice: toolChoice.nullish(),
    parallel_tool_calls: z.boolean().nullish(),
    metadata,
    ...gatewayFields,
  })
  .superRefine((body, context) => {
    refuse(body, refusals, context);
    const calls = new Set<string>();
    for (const [index, item] of (typeof body.input === "string" ? [] : body.input).entries()) {
      if (item.type === "function_call") calls.add(item.call_id);
      if (item.type === "function_call_output" && !calls.has(item.call_id))
        context.addIssue({
          code: "custom",
          path: ["input", index, "call_id"],
          message: "no earlier item is a call of this id",
        });
    }
    if (body.tool_choice && body.tool_choice !== "none" && body.tool_choice !== "auto" && !body.tools?.length)
      context.addIssue({ code: "custom", path: ["tool_choice"], message: "is only allowed with tools" });
  });
export type ResponsesRequest = z.output<typeof responsesBodySchema>;

const logprobsInclude = "message.output_text.logprobs";

export function toGeneration(body: ResponsesRequest): Generation {
  const wantsLogprobs = body.include?.includes(logprobsInclude) || (body.top_logprobs ?? 0) > 0;
  return {
    conversation: toConversation(body),
    sampling: {
      temperature: body.temperature ?? undefined,
      topP: body.top_p ?? undefined,
      maxTokens: body.max_output_tokens ?? undefined,
    },
    ...toGatewayFields(body),
    answers: 1,
    tools: body.tool_choice === "none" ? [] : toTools(body.tools ?? []),
    toolChoice: toToolChoice(body.tool_choice),
    parallelToolCalls: body.parallel_tool_calls ?? true,
    format: toFormat(body.text?.format),
    topLogprobs: wantsLogprobs ? (body.top_logprobs ?? 0) : null,
  };
}

function toConversation({ instructions, input }: ResponsesRequest): Conversation {
  const system: Message[] = instructions ? [{ role: "system", content: instructions }] : [];
  if (typeof input === "string") return [...system, { role: "user", content: input }];
  const messages: Message[] = [];
  for (const item of input) {
    if (item.type === "reasoning") continue;
    if (item.type === "function_call")
      addCall(messages, { id: item.call_id, name: item.name, arguments: item.arguments });
    else if (item.type === "function_call_output")
      messages.push({ role: "tool", content: toText(item.output), toolCallId: item.call_id });
    else messages.push({ role: item.role === "developer" ? "system" : item.role, content: toText(item.content) });
  }
  return [...system, ...messages];
}

/** Calls belong to the assistant's turn before them, or are one together. */
function addCall(messages: Message[], call: ToolCall): void {
  const last = messages.at(-1);
  if (last?.role === "assistant")
    messages[messages.length - 1] = { ...last, toolCalls: [...(last.toolCalls ?? []), call] };
  else messages.push({ role: "assistant", content: "", toolCalls: [call] });
}

function toText(given: z.output<typeof content>): string {
  return typeof given === "string"
    ? given
    : given.map((part) => (part.type === "refusal" ? part.refusal : part.text)).join("");
}

function toTools(tools: NonNullable<ResponsesRequest["tools"]>): Generation["tools"] {
  return tools.map(({ name, description, parameters }, index) => ({
    name,
    description: description ?? undefined,
    parameters: parameters ?? { type: "object", properties: {} },
    path: `tools.${index}.parameters`,
  }));
}

function toToolChoice(choice: ResponsesRequest["tool_choice"]): ToolChoice {
  if (choice === "required") return "required";
  return typeof choice === "object" && choice !== null ? { name: choice.name } : "auto";
}

function toFormat(given: z.output<typeof format> | null | undefined): AnswerFormat {
  switch (given?.type) {
    case undefined:
    case "text":
      return { type: "text" };
    case "json_object":
      return { type: "json-object" };
    case "json_schema":
      return { type: "json-schema", schema: given.schema ?? { type: "object" }, path: "text.format.schema" };
  }
}
