/** @module POST /v1/messages and /v1/messages/count_tokens. */
import type { Context } from "hono";
import type { Demand } from "../../gateway/demand.ts";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import { generate, generateWhole } from "../../gateway/generate.ts";
import type { GenerationEvent } from "../../gateway/generation.ts";
import { setHeaders } from "../../gateway/headers.ts";
import { assignedRoute, requestedRoute } from "../../gateway/route.ts";
import { termsOf } from "../../gateway/terms.ts";
import { askerOf, withRequest } from "../../gateway/work.ts";
import { checkLength } from "../../icdpo/contexts.ts";
import { baseContext, encodeContext } from "../../icdpo/prompt.ts";
import { reasoningFor } from "../../icdpo/thought.ts";
import { readBody } from "../json-body.ts";
import { streamAnswer } from "../sse.ts";
import { finishedMessage, type MessagesCall } from "./messages-answer.ts";
import { renderMessagesError } from "./messages-errors.ts";
import {
  bounded,
  countTokensBodySchema,
  inVain,
  messagesBodySchema,
  toGeneration,
  toPrompt,
} from "./messages-request.ts";
import { messageEvents, ping } from "./messages-stream.ts";

const messagesRequest = bounded(messagesBodySchema);
const countTokensRequest = bounded(countTokensBodySchema);

export function messages(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const body = await readBody(c, messagesRequest);
    setHeaders(c, inVain(body));
    const generation = toGeneration(body);
    const resolved = await assignedRoute(c, dependencies, body.model, generation);
    const call: MessagesCall = { id: dependencies.newId("msg_"), body, resolved };
    if (!body.stream)
      return c.json(finishedMessage(call, await generateWhole(c, dependencies, resolved, generation, call.id)));
    const [isAdmin, requestId] = [c.get("isAdmin"), c.res.headers.get("x-request-id")];
    return streamAnswer<GenerationEvent>(c, dependencies, {
      events: (reader) => generate(c, dependencies, resolved, generation, call.id, reader),
      write: (events) => messageEvents(call, events),
      fail: (_, error) => [{ event: "error", data: renderMessagesError(error, isAdmin, requestId).body }],
      ping,
    });
  };
}

/** A place among the requests, and no tokens: the model does not work. */
const countingDemand: Demand = { answers: 1, tokens: async () => 0 };

/** Counts the tokens of C⁰, as a message's `usage` does. */
export function countTokens(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const body = await readBody(c, countTokensRequest);
    setHeaders(c, inVain(body));
    const prompt = toPrompt(body);
    const route = requestedRoute(c, dependencies.policies(), body.model);
    const { policy } = termsOf(route.policy, { ...prompt, sampling: {} });
    const { sampler } = policy;
    const { tokens } = await withRequest(askerOf(c), dependencies, countingDemand, async ({ signal }) => {
      await checkLength([sampler], prompt, signal);
      const thinks = (await reasoningFor(policy, prompt, signal)) ?? undefined;
      const context = baseContext(sampler.format, prompt.conversation, { ...prompt, thinks });
      return encodeContext(sampler.engine, context, signal);
    });
    return c.json({ input_tokens: tokens.length });
  };
}
