/**
 * @module The body of POST /v1/responses, OpenAI's newer protocol: text, tools and schemas, without state on the
 * server.
 */
import { z } from "zod";
import type { Generation } from "../../gateway/generation.ts";
import { checkGuided, guidedFields, toGuidedFormat } from "../guided.ts";
import { vainHeaders } from "../in-vain.ts";
import { byBudget, byEffort, effort } from "../reasoning-fields.ts";
import { samplingFields, stopStrings, toBound, tokenBound, toSampling, toSeed } from "../sampling-fields.ts";
import { responseFormat, toFormat } from "../schema-format.ts";
import { refuseOthers, serverPromptFields, toServerPrompt } from "../server-parameters.ts";
import { gatewayFields, metadata, modelName, refuse, toGatewayFields } from "../wire.ts";
import { droppedItems, inputSchema, toConversation } from "./responses-items.ts";
import { choiceComplaint, leftOutTools, toolChoice, toolList, toTools } from "./responses-tools.ts";

/** What would need state on the server, or another model. */
const refusals = {
  previous_response_id: {
    reason: "there is no state on the server; send the whole conversation as input",
    harmless: [],
  },
  conversation: { reason: "there is no state on the server; send the whole conversation as input", harmless: [] },
  background: { reason: "there is no state on the server that the answer could be kept in", harmless: [false] },
  prompt: { reason: "there are no stored prompts", harmless: [] },
  response_format: { reason: "use text.format", harmless: [{ type: "text" }] },
  truncation: { reason: "the conversation is not cut", harmless: ["disabled"] },
};

export const responsesBodySchema = z
  .looseObject({
    model: modelName,
    input: inputSchema,
    instructions: z.string().nullish(),
    stream: z.boolean().nullish(),
    ...samplingFields,
    ...serverPromptFields,
    ...guidedFields,
    stop: stopStrings,
    store: z.boolean().nullish().describe("nothing is stored, whatever it says"),
    max_output_tokens: tokenBound.nullish(),
    top_logprobs: z.int().min(0).max(20).nullish(),
    reasoning: z
      .looseObject({ effort: effort.nullish(), max_tokens: z.int().min(0).nullish() })
      .nullish()
      .describe("how long a thought may be; there is no summary of it"),
    include: z.array(z.string()).max(32).nullish(),
    text: z.object({ format: responseFormat.nullish() }).nullish(),
    tools: toolList.nullish(),
    tool_choice: toolChoice.nullish(),
    parallel_tool_calls: z.boolean().nullish(),
    metadata,
    ...gatewayFields,
  })
  .superRefine((body, context) => {
    refuse(body, refusals, context);
    refuseOthers(body, context);
    checkGuided(body, toFormat(body.text?.format, "text.format"), context);
    const complaint = choiceComplaint(body.tool_choice, body.tools);
    if (complaint !== undefined) context.addIssue({ code: "custom", path: ["tool_choice"], message: complaint });
  });
export type ResponsesRequest = z.output<typeof responsesBodySchema>;

const logprobsInclude = "message.output_text.logprobs";

export function toGeneration(body: ResponsesRequest): Generation {
  const wantsLogprobs = body.include?.includes(logprobsInclude) || (body.top_logprobs ?? 0) > 0;
  return {
    conversation: toConversation(body.instructions, body.input),
    sampling: toSampling(body, { maxTokens: toBound(body.max_output_tokens), stop: body.stop }),
    ...toServerPrompt(body),
    ...toReasoning(body),
    ...toGatewayFields(body),
    answers: 1,
    seed: toSeed(body.seed),
    ...toTools(body.tool_choice, body.tools),
    parallelToolCalls: body.parallel_tool_calls ?? true,
    format: toGuidedFormat(body) ?? toFormat(body.text?.format, "text.format"),
    topLogprobs: wantsLogprobs ? (body.top_logprobs ?? 0) : null,
  };
}

/** `reasoning` is this protocol's own word; what other servers know goes as well. */
function toReasoning({ reasoning, ...body }: ResponsesRequest): Pick<Generation, "reasoning"> {
  const { reasoning: others } = toServerPrompt(body);
  const { effort: said, max_tokens: tokens } = reasoning ?? {};
  const asked = { ...others, ...byEffort(said), ...(typeof tokens === "number" && byBudget(tokens)) };
  return { reasoning: Object.keys(asked).length === 0 ? undefined : asked };
}

/** Headers that name what the request asks for in vain. */
export function inVain({ tools, input }: ResponsesRequest): Record<string, string> {
  return vainHeaders({ ignored: droppedItems(input), leftOut: leftOutTools(tools) });
}
