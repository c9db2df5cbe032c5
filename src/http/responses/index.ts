/** @module POST /v1/responses. */
import type { Context } from "hono";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import { generate, generateWhole } from "../../gateway/generate.ts";
import type { Answer, GenerationEvent } from "../../gateway/generation.ts";
import { setHeaders } from "../../gateway/headers.ts";
import { assignedRoute } from "../../gateway/route.ts";
import { readBody } from "../json-body.ts";
import { streamAnswer } from "../sse.ts";
import { finishedResponse, outputItems, type ResponsesCall } from "./responses-answer.ts";
import { inVain, responsesBodySchema, toGeneration } from "./responses-request.ts";
import { ResponseEvents } from "./responses-stream.ts";
import { offeredTools } from "./responses-tools.ts";

export function responses(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const body = await readBody(c, responsesBodySchema);
    setHeaders(c, inVain(body));
    const generation = toGeneration(body);
    const resolved = await assignedRoute(c, dependencies, body.model, generation);
    const { newId, unixTime } = dependencies;
    const call: ResponsesCall = {
      id: newId("resp_"),
      created: unixTime(),
      body,
      resolved,
      newId,
      tools: offeredTools(body.tools),
    };
    if (!body.stream) {
      const generated = await generateWhole(c, dependencies, resolved, generation, call.id);
      return c.json(finishedResponse(call, generated, outputItems(call, generated.answers[0] as Answer)));
    }
    const written = new ResponseEvents(call);
    return streamAnswer<GenerationEvent>(c, dependencies, {
      events: (reader) => generate(c, dependencies, resolved, generation, call.id, reader),
      write: (events) => written.write(events),
      fail: (error) => written.fail(error),
    });
  };
}
