/** @module POST /v1/chat/completions. */
import type { Context } from "hono";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import { generateWhole } from "../../gateway/generate.ts";
import { setHeaders } from "../../gateway/headers.ts";
import { assignedRoute } from "../../gateway/route.ts";
import { readBody } from "../json-body.ts";
import { type ChatCall, chatCompletion } from "./chat-answer.ts";
import { chatBodySchema, chatSchemaFor, toGeneration } from "./chat-request.ts";
import { streamChatCompletion } from "./chat-stream.ts";
import { inVain } from "./chat-tools.ts";
import { isLegacy, modernised } from "./legacy-functions.ts";

const legacyRequest = modernised.pipe(chatBodySchema);

export function chatCompletions(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const body = await readBody(c, (given) => (isLegacy(given) ? legacyRequest : chatSchemaFor(given)));
    setHeaders(c, inVain(body));
    const generation = toGeneration(body);
    const resolved = await assignedRoute(c, dependencies, body.model, generation);
    const call: ChatCall = {
      id: dependencies.newId("chatcmpl-"),
      created: dependencies.unixTime(),
      body,
      resolved,
      reasoningWord: dependencies.reasoningWord,
    };
    if (!body.stream)
      return c.json(chatCompletion(call, await generateWhole(c, dependencies, resolved, generation, call.id)));
    return streamChatCompletion(c, dependencies, call, generation);
  };
}
