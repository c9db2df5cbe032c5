/**
 * @module Scoring by llama-cpp-python's server: each completion is echoed behind its context, with log-probabilities.
 */
import { describedAnswer } from "../../client/answer-size.ts";
import { GatewayError } from "../../types/error.ts";
import type { Prompt, ScoreEvent, Token } from "../engine.ts";
import { checkLength, echoed, type LlamaCppPythonModel, noDetails, path } from "./llama-cpp-python-model.ts";
import { textOf } from "./llama-cpp-python-tokenizer.ts";
import type { OneCallServer } from "./one-call-server.ts";

export async function* score(
  server: OneCallServer,
  model: LlamaCppPythonModel,
  prompt: Prompt,
  completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
  signal: AbortSignal | undefined,
  topLogprobs: number | undefined,
): AsyncGenerator<ScoreEvent> {
  const { info, ending, end } = model;
  if (!info.capabilities.score)
    throw new GatewayError("unsupported_parameter", "This route's llama-cpp-python server cannot score.");
  if (topLogprobs !== undefined) throw noDetails();
  const context = await textOf(server, prompt, signal);
  checkLength(model, prompt);
  yield { type: "prefill", fed: 0 };
  let index = 0;
  for await (const completion of completions) {
    const endsWithEos = completion.at(-1) === end;
    const text = context + (await server.detokenize(completion, signal)) + (endsWithEos ? ending : "");
    const all = await server.tokenize(text, signal);
    if (all.join() !== [...prompt.tokens, ...completion].join())
      throw new GatewayError(
        "engine_failure",
        "llama-cpp-python's server makes other tokens of a prompt and its completion together than of each: it cannot be scored.",
      );
    // 0 would be as many as fit.
    const body = { prompt: text, max_tokens: 1, echo: true, logprobs: 1, temperature: 0 };
    const size = describedAnswer([all.length + 1]);
    const { choices } = await server.promptJson({ path, body, answer: echoed, size, signal }, prompt.tenant);
    if (index === 0) yield { type: "prompt", cached: 0 };
    // BOS is not among them.
    const first = prompt.tokens.length - 1;
    const logprobs = choices[0].logprobs.token_logprobs.slice(first, first + completion.length);
    yield { type: "scored", index, logprobs: logprobs.map((logprob) => logprob ?? Number.NaN) };
    index += 1;
  }
}
