/**
 * @module A prompt on a route that shows demonstrations or chooses, in one of the paper's text formats: the prompt is a
 * transcript of the conversation, or one message of the user's, and the answer is what the method returns.
 */
import type { Context } from "hono";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import { generate, generateWhole } from "../../gateway/generate.ts";
import type { Answer, Generated, Generation, GenerationEvent } from "../../gateway/generation.ts";
import { rawConversation } from "../../icdpo/raw-prompt.ts";
import type { PromptFormat } from "../../policy/schema.ts";
import { GatewayError } from "../../types/error.ts";
import { explained, renderUsage } from "../chat/chat-answer.ts";
import { toSeed } from "../sampling-fields.ts";
import { type ServerSentEvent, streamAnswer } from "../sse.ts";
import { toGatewayFields } from "../wire.ts";
import { type Choice, type CompletionCall, common, renderChoice } from "./completion-answer.ts";
import { type CompletionsRequest, givenSampling, promptsOf } from "./completion-request.ts";

type TextFormat = Exclude<PromptFormat, "chat">;

/** What cannot be had where the method writes the context, and why. */
const refusals: readonly [field: string, isAsked: (body: CompletionsRequest) => boolean, reason: string][] = [
  ["echo", ({ echo }) => echo === true, "the prompt is not what the model reads: demonstrations stand before it"],
  ["suffix", ({ suffix }) => Boolean(suffix), "the method answers, it does not fill in"],
  [
    "parse_special",
    ({ parse_special: parse }) => parse === true,
    "a prompt stands beside demonstrations, as plain text",
  ],
  ["add_special_tokens", ({ add_special_tokens: add }) => add === false, "the method writes the context"],
  ["max_tokens", ({ max_tokens: most }) => most === 0, "there is an answer to choose"],
  ["prompt", (body) => promptsOf(body).length > 1, "one request has one prompt here"],
  ["prompt", (body) => typeof promptsOf(body)[0] !== "string", "the method takes text, not token ids"],
];

/** Throws "unsupported_parameter" by the field's name, "invalid_request" where the prompt cannot be read. */
export async function completeByMethod(
  c: Context,
  dependencies: AppDependencies,
  call: CompletionCall,
  format: TextFormat,
): Promise<Response> {
  const { body, resolved, id } = call;
  for (const [param, isAsked, reason] of refusals)
    if (isAsked(body))
      throw new GatewayError("unsupported_parameter", `Invalid '${param}': not on this route: ${reason}.`, { param });
  const generation = toGeneration(body, format);
  if (body.stream)
    return streamAnswer<GenerationEvent>(c, dependencies, {
      events: (reader) => ofPrompt(generate(c, dependencies, resolved, generation, id, reader)),
      write: (events) => chunks(call, events),
      fail: (error) => [{ data: error }],
    });
  const generated = await generateWhole(c, dependencies, resolved, generation, id).catch(sayPrompt);
  const choices = generated.answers.map((answer, index) => renderChoice(choiceOf(answer, index), body));
  return c.json({ ...common(call), choices, usage: renderUsage(generated), ...explained(body, resolved, generated) });
}

function toGeneration(body: CompletionsRequest, format: TextFormat): Generation {
  const [prompt] = promptsOf(body);
  return {
    conversation: rawConversation(format, prompt as string),
    ...toGatewayFields(body),
    sampling: givenSampling(body),
    cachesPrompt: body.cache_prompt !== false,
    answers: body.n ?? 1,
    seed: toSeed(body.seed),
    tools: [],
    toolChoice: "auto",
    parallelToolCalls: true,
    format: { type: "text" },
    topLogprobs: body.logprobs ?? null,
  };
}

function choiceOf({ content, finish, logprobs }: Answer, index: number): Choice {
  return { index, text: content ?? "", finish: finish === "length" ? "length" : "stop", details: logprobs ?? [] };
}

async function* chunks(call: CompletionCall, events: AsyncIterable<GenerationEvent>): AsyncGenerator<ServerSentEvent> {
  const { body, resolved } = call;
  const wantsUsage = body.stream_options?.include_usage === true;
  const chunk = (choice: Choice, extra: object = {}): ServerSentEvent => ({
    data: { ...common(call), choices: [renderChoice(choice, body)], ...(wantsUsage && { usage: null }), ...extra },
  });
  /** The last choice's end waits for what explains it. */
  let last: Choice | undefined;
  const ended = (generated?: Generated): ServerSentEvent[] =>
    last === undefined ? [] : [chunk(last, generated && explained(body, resolved, generated))];
  for await (const event of events) {
    if (event.type === "text")
      yield chunk({ index: event.index, text: event.text, finish: null, details: event.logprobs ?? [] });
    else if (event.type === "finish") {
      yield* ended();
      last = { ...choiceOf(event.answer, event.index), text: "", details: [] };
    } else if (event.type === "end") {
      yield* ended(event.generated);
      if (wantsUsage) yield { data: { ...common(call), choices: [], usage: renderUsage(event.generated) } };
    }
  }
  yield { data: "[DONE]" };
}

async function* ofPrompt(events: AsyncIterable<GenerationEvent>): AsyncGenerator<GenerationEvent> {
  try {
    yield* events;
  } catch (error) {
    sayPrompt(error);
  }
}

/** What is wrong with the messages is wrong with the prompt that they were read from. */
function sayPrompt(error: unknown): never {
  if (!(error instanceof GatewayError) || error.param?.startsWith("messages") !== true) throw error;
  throw new GatewayError(error.code, error.message, { param: "prompt", cause: error });
}
