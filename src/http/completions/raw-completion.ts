/** @module Raw text goes on: all choices of all prompts of a request, side by side. */
import type { Context } from "hono";
import { allOrNone } from "../../async/all-or-none.ts";
import type { Engine, Prompt, Token, TokenDetail } from "../../engine/engine.ts";
import { checkAbilities } from "../../gateway/abilities.ts";
import { checkAnswerSize } from "../../gateway/answer-room.ts";
import type { Work } from "../../gateway/work.ts";
import { type Candidate, sampleCandidates } from "../../icdpo/sample.ts";
import type { TokenUsage } from "../../icdpo/token-usage.ts";
import { GatewayError } from "../../types/error.ts";
import type { Choice, CompletionCall, CompletionUsage } from "./completion-answer.ts";
import { givenSampling, samplingOf } from "./completion-request.ts";
import { type LedPrompt, readPrompts } from "./given-prompts.ts";
import { echoOf, restOf } from "./prompt-echo.ts";

/** One try of the work. */
type Try = Work & { readonly tokens: TokenUsage };

/** `onPiece` gets text as it comes. */
export async function complete(c: Context, call: CompletionCall, work: Try, onPiece: (choice: Choice) => void) {
  const { signal } = work;
  const { engine } = call.resolved.policy.sampler;
  const info = await engine.info(signal);
  if (!info.capabilities.text)
    throw new GatewayError(
      "invalid_request",
      "This route's engine takes chat messages only: use /v1/chat/completions.",
      {
        param: "model",
      },
    );
  const { topK } = givenSampling(call.body);
  checkAbilities(info.capabilities, { sampling: { ...samplingOf(call.body, call.resolved.policy), topK } });
  const prompts = await readPrompts(engine, info, call.body, signal);
  checkSize(call, prompts, info.contextSize);
  const observer = c.get("observer");
  observer.note({ promptTokens: prompts.reduce((sum, { tokens }) => sum + tokens.length, 0) });
  work.enter("queue");
  const one = (prompt: LedPrompt, i: number, until: AbortSignal) =>
    completeOne(engine, call, { ...work, signal: until }, { ...prompt, tenant: call.tenant }, i, onPiece);
  const choices = (await allOrNone(prompts, one, signal)).flat();
  const retokenized = await engine.tokenize(
    choices.map(({ sampled }) => sampled),
    signal,
  );
  const usage = usageOf(prompts, retokenized);
  observer.note({ completionTokens: usage.completion_tokens });
  return { choices: choices.map(({ choice }) => choice), usage };
}

function checkSize(
  { body, resolved: { policy } }: CompletionCall,
  prompts: readonly Prompt[],
  contextSize: number,
): void {
  const { maxTokens } = samplingOf(body, policy);
  const tokens = prompts.reduce((sum, { tokens: { length } }) => {
    const sampled = Math.min(maxTokens, Math.max(0, contextSize - length));
    return sum + sampled + (body.echo ? length : 0);
  }, 0);
  const details = body.logprobs === undefined || body.logprobs === null ? 0 : 1 + body.logprobs;
  checkAnswerSize(tokens * (body.n ?? 1), details, details > 1 ? "logprobs" : "n");
}

function usageOf(prompts: readonly Prompt[], completions: readonly (readonly Token[])[]): CompletionUsage {
  const count = (lists: readonly { readonly length: number }[]): number =>
    lists.reduce((sum, { length }) => sum + length, 0);
  const [prompt, completion] = [count(prompts.map(({ tokens }) => tokens)), count(completions)];
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
}

/** A prompt's choices, and what was sampled of each. */
async function completeOne(
  engine: Engine,
  call: CompletionCall,
  work: Try,
  prompt: LedPrompt,
  place: number,
  onPiece: (choice: Choice) => void,
) {
  const { body } = call;
  const count = body.n ?? 1;
  const first = place * count;
  const asked = { engine, body, usage: work.tokens, signal: work.signal };
  const echo = body.echo ? await echoOf(asked, prompt) : { text: "", details: [] };
  const indexes = Array.from({ length: count }, (_, i) => first + i);
  if (body.echo) for (const index of indexes) onPiece({ index, ...echo, finish: null });
  const shift = (details: readonly TokenDetail[]) =>
    details.map((detail) => ({ ...detail, offset: detail.offset + echo.text.length }));
  const parameters = samplingOf(body, call.resolved.policy);
  const isGreedy = parameters.temperature === 0;
  const sampled = await sampleAll(engine, call, work, prompt, place, (i, text, details) => {
    for (const index of isGreedy ? indexes : [first + i])
      onPiece({ index, text, finish: null, details: shift(details) });
  });
  const rests = await Promise.all(sampled.map((candidate) => restOf(asked, prompt, candidate, parameters)));
  return indexes.map((index, i) => {
    const { text, finish, details } = (sampled[i] ?? sampled[0]) as Candidate;
    const rest = shift(rests[i] ?? rests[0] ?? []);
    onPiece({ index, text: "", finish, details: rest });
    const all = [...echo.details, ...shift(details), ...rest];
    return { choice: { index, text: echo.text + text, finish, details: all } satisfies Choice, sampled: text };
  });
}

/** One candidate where all would be the same. */
async function sampleAll(
  engine: Engine,
  { body, resolved, seed }: CompletionCall,
  work: Try,
  prompt: LedPrompt,
  place: number,
  onText: (index: number, text: string, details: readonly TokenDetail[]) => void,
): Promise<Omit<Candidate, "index">[]> {
  const parameters = samplingOf(body, resolved.policy);
  if (parameters.maxTokens === 0) return [{ text: "", finish: "length", sample: null, details: [] }];
  const options = {
    parameters,
    count: parameters.temperature === 0 ? 1 : (body.n ?? 1),
    seed: seed + place,
    logprobs: false,
    topLogprobs: body.logprobs ?? undefined,
    usage: work.tokens,
    signal: work.signal,
    onPrefill: () => work.enter("prefill"),
    onBegin: () => work.enter("sample"),
    onText,
  };
  const sampled: Omit<Candidate, "index">[] = [];
  for await (const candidate of sampleCandidates({ engine, format: "chat", prompt }, options))
    sampled[candidate.index] = candidate;
  return sampled;
}
