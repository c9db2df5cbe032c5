/** @module POST /v1/chat/completions. */
import type { Context } from "hono";
import { type ChatCall, chatCompletion } from "./chat-answer.ts";
import { chatBodySchema, toGeneration } from "./chat-request.ts";
import { streamChatCompletion } from "./chat-stream.ts";
import type { AppDependencies } from "./dependencies.ts";
import { generate, generateStream } from "./generate.ts";
import { requestedRoute } from "./headers.ts";
import { readBody } from "./wire.ts";

export function chatCompletions(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const body = await readBody(c, chatBodySchema);
    const resolved = requestedRoute(c, dependencies.policies(), body.model);
    const call: ChatCall = { id: dependencies.newId("chatcmpl-"), created: dependencies.unixTime(), body, resolved };
    const generation = toGeneration(body);
    if (!body.stream) return c.json(chatCompletion(call, await generate(c, dependencies, resolved, generation)));
    return streamChatCompletion(c, dependencies, call, await generateStream(c, dependencies, resolved, generation));
  };
}
