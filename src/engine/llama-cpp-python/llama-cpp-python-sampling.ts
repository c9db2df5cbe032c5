/**
 * @module Sampling by llama-cpp-python's server: one call a sample, for it has no others, and its stream read as
 * events.
 */
import type { z } from "zod";
import { EventQueue } from "../../async/event-queue.ts";
import { sampledAnswer } from "../../client/answer-size.ts";
import { cancelled, GatewayError } from "../../types/error.ts";
import type { Prompt, SampleEvent, SampleRequest } from "../engine.ts";
import { checkLength, chunk, type LlamaCppPythonModel, noDetails, path } from "./llama-cpp-python-model.ts";
import { textOf, tokenizePlain } from "./llama-cpp-python-tokenizer.ts";
import type { OneCallServer } from "./one-call-server.ts";

export async function* sample(
  server: OneCallServer,
  model: LlamaCppPythonModel,
  prompt: Prompt,
  request: SampleRequest,
  signal: AbortSignal | undefined,
): AsyncGenerator<SampleEvent> {
  const body = await requestBody(server, prompt, request, signal);
  checkLength(model, prompt);
  yield { type: "prefill", fed: 0 };
  let hasBegun = false;
  for (const [index, seed] of request.seeds.entries()) {
    let text = "";
    let finish: string | null = null;
    for await (const { choices } of streamOf(server, { ...body, seed }, request.maxTokens, prompt.tenant, signal)) {
      if (!hasBegun) yield { type: "prompt", cached: 0 };
      hasBegun = true;
      const [choice] = choices;
      finish = choice?.finish_reason ?? finish;
      text += choice?.text ?? "";
      // About one a piece; how many there were is known at the end.
      if (choice?.text) yield { type: "text", index, text: choice.text, tokens: 1 };
    }
    if (finish === null)
      throw new GatewayError(
        "engine_unavailable",
        "llama-cpp-python's server broke off for another client's call. Start it with --interrupt_requests false.",
      );
    const tokens = await tokenizePlain(server, model.opening.length, text, signal);
    yield {
      type: "done",
      index,
      sample: { text, finish: finish === "length" ? "length" : "stop", tokens, logprobs: [], endLogprobs: [] },
    };
  }
}

/** Read on as it comes, whatever its reader does meanwhile: the next call waits for its end. */
async function* streamOf(
  server: OneCallServer,
  body: object,
  most: number,
  tenant: string | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<z.output<typeof chunk>> {
  const left = new AbortController();
  const queue = new EventQueue<z.output<typeof chunk>>();
  const either = signal === undefined ? left.signal : AbortSignal.any([signal, left.signal]);
  const call = { path, body: { ...body, stream: true }, answer: chunk, size: sampledAnswer(most, 0), signal: either };
  server
    .events(call, tenant, (event) => queue.push(event))
    .then(
      () => queue.end(),
      (error: unknown) => queue.fail(signal?.aborted ? cancelled(signal) : error),
    );
  try {
    yield* queue;
  } finally {
    left.abort();
  }
}

async function requestBody(
  server: OneCallServer,
  prompt: Prompt,
  request: SampleRequest,
  signal: AbortSignal | undefined,
): Promise<object> {
  const { presencePenalty = 0, frequencyPenalty = 0, topLogprobs, logitBias, grammar } = request;
  if (topLogprobs !== undefined) throw noDetails();
  for (const [param, penalty] of Object.entries({
    presence_penalty: presencePenalty,
    frequency_penalty: frequencyPenalty,
  }))
    if (penalty !== 0)
      throw new GatewayError("unsupported_parameter", "llama-cpp-python's server counts the last 64 tokens only.", {
        param,
      });
  return {
    prompt: await textOf(server, prompt, signal),
    max_tokens: Math.max(1, request.maxTokens),
    temperature: request.temperature,
    top_p: request.topP,
    top_k: request.topK,
    min_p: request.minP ?? 0,
    repeat_penalty: 1,
    stop: request.stop,
    ...(logitBias && logitBias.size > 0 && { logit_bias: Object.fromEntries(logitBias) }),
    ...(grammar !== undefined && { grammar }),
  };
}
