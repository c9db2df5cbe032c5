/**
 * @module POST /v1/completions, for plain routes: raw text goes on, with the log-probabilities of the prompt itself
 * where `echo` asks for them.
 */
import type { Context } from "hono";
import { mayUse } from "../../access/access.ts";
import { allOrNone } from "../../async/all-or-none.ts";
import { checkCharacters, checkTokens, tooLong } from "../../engine/characters.ts";
import type { Engine, EngineInfo, Prompt, Token, TokenDetail } from "../../engine/engine.ts";
import { checkAbilities } from "../../gateway/abilities.ts";
import { checkAnswerSize } from "../../gateway/answer-room.ts";
import { completionsDemand, type Demand } from "../../gateway/demand.ts";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import { routeHeaders, setHeaders } from "../../gateway/headers.ts";
import { singlePolicyRoute } from "../../gateway/route.ts";
import { tenantOf } from "../../gateway/tenant.ts";
import { askerOf, sizeOf, streamWork, type Work, withRequest } from "../../gateway/work.ts";
import { type Candidate, sampleCandidates } from "../../icdpo/sample.ts";
import { counted, type TokenUsage } from "../../icdpo/token-usage.ts";
import type { Policy, PolicySet } from "../../policy/policy.ts";
import { GatewayError } from "../../types/error.ts";
import { type ServerSentEvent, streamAnswer } from "../sse.ts";
import { readBody, toSeed } from "../wire.ts";
import { type Choice, type CompletionCall, common, type PlacedDetail, renderChoice } from "./completion-answer.ts";
import {
  type CompletionsRequest,
  completionsBodySchema,
  givenSampling,
  promptsOf,
  samplingOf,
} from "./completion-request.ts";

interface Call extends CompletionCall {
  readonly seed: number;
  readonly tenant: string | undefined;
}

interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

export function completions(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const body = await readBody(c, completionsBodySchema);
    const resolved = singlePolicyRoute(c, dependencies.policies(), body.model);
    checkPlain(c, resolved.policy, dependencies.policies());
    if ((body.n ?? 1) > dependencies.maxAnswers)
      throw new GatewayError(
        "invalid_request",
        `Invalid 'n': at most ${dependencies.maxAnswers} answers are allowed.`,
        { param: "n" },
      );
    const { newId, unixTime, randomSeed } = dependencies;
    const seed = (toSeed(body.seed) ?? randomSeed()) >>> 0;
    const tenant = body.cache_prompt === false ? newId("once_") : tenantOf(c, dependencies, { user: body.user });
    const call: Call = { id: newId("cmpl-"), created: unixTime(), body, resolved, seed, tenant };
    setHeaders(c, routeHeaders(resolved, body.n ?? 1));
    const demand = demandOf(call);
    if (body.stream) return stream(c, dependencies, call, demand);
    const { choices, usage } = await withRequest(askerOf(c), dependencies, demand, (work) =>
      work.attempt((tokens) => complete(c, call, { ...work, tokens }, () => {})),
    );
    return c.json({ ...common(call), choices: choices.map((choice) => renderChoice(choice, body)), usage });
  };
}

function demandOf({ body, resolved: { policy } }: Call): Demand {
  const { temperature, maxTokens } = samplingOf(body, policy);
  const scoresPrompts = tellsPrompt(body);
  // A greedy answer stands for all of a prompt's.
  const answers = temperature === 0 ? 1 : (body.n ?? 1);
  return completionsDemand(policy.sampler.engine, promptsOf(body), { answers, maxTokens, scoresPrompts });
}

/** Whether the prompt's own log-probabilities are asked for. */
function tellsPrompt({ echo, logprobs }: Pick<CompletionsRequest, "echo" | "logprobs">): boolean {
  return echo === true && logprobs !== undefined && logprobs !== null;
}

function checkPlain(c: Context, policy: Policy, set: PolicySet): void {
  if (isPlain(policy)) return;
  const plain = [...set.routes.values()]
    .filter(
      ({ name, policy: other, experiment }) => experiment === null && isPlain(other) && mayUse(c.get("caller"), name),
    )
    .map(({ name }) => name);
  const message = `/v1/completions is for plain routes, without demonstrations and scores${plain.length > 0 ? `: ${plain.join(", ")}` : "; there is none"}.`;
  throw new GatewayError("invalid_request", message, { param: "model" });
}

function isPlain({ settings, retriever }: Policy): boolean {
  return settings.score.type === "none" && retriever === null && settings.instructions === undefined;
}

/** One try of the work. */
type Try = Work & { readonly tokens: TokenUsage };

/** All choices of all prompts, side by side; `onPiece` gets text as it comes. */
async function complete(c: Context, call: Call, work: Try, onPiece: (choice: Choice) => void) {
  const { body } = call;
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
  const { topK } = givenSampling(body);
  checkAbilities(info.capabilities, { sampling: { ...samplingOf(body, call.resolved.policy), topK } });
  for (const given of promptsOf(body)) checkGiven(info, given);
  // What every text begins with, BOS or nothing, and what closes one.
  const { tokens: beginning, end } = await engine.textPrompt("", signal);
  const prompts = await Promise.all(
    promptsOf(body).map((given) =>
      typeof given === "string" ? engine.textPrompt(given, signal) : { tokens: given, end },
    ),
  );
  if (prompts.some(({ tokens }) => tokens.length === 0))
    throw new GatewayError("invalid_request", "Invalid 'prompt': it is empty.", { param: "prompt" });
  checkSize(call, prompts, info.contextSize);
  const lead = typeof promptsOf(body)[0] === "string" ? beginning.length : 0;
  const observer = c.get("observer");
  observer.note({ promptTokens: prompts.reduce((sum, { tokens }) => sum + tokens.length, 0) });
  work.enter("queue");
  const one = (prompt: Prompt, i: number, until: AbortSignal) =>
    completeOne(engine, call, { ...work, signal: until }, { ...prompt, tenant: call.tenant, lead }, i, onPiece);
  const choices = (await allOrNone(prompts, one, signal)).flat();
  const retokenized = await engine.tokenize(
    choices.map(({ sampled }) => sampled),
    signal,
  );
  const usage = usageOf(prompts, retokenized);
  observer.note({ completionTokens: usage.completion_tokens });
  return { choices: choices.map(({ choice }) => choice), usage };
}

function checkSize({ body, resolved: { policy } }: Call, prompts: readonly Prompt[], contextSize: number): void {
  const { maxTokens } = samplingOf(body, policy);
  const tokens = prompts.reduce((sum, { tokens: { length } }) => {
    const sampled = Math.min(maxTokens, Math.max(0, contextSize - length));
    return sum + sampled + (body.echo ? length : 0);
  }, 0);
  const details = body.logprobs === undefined || body.logprobs === null ? 0 : 1 + body.logprobs;
  checkAnswerSize(tokens * (body.n ?? 1), details, details > 1 ? "logprobs" : "n");
}

/**
 * Before any prompt is worked on, for a stream of several has begun when the last one's turn comes. Throws what is to
 * be 400.
 */
function checkGiven(info: EngineInfo, given: string | readonly Token[]): void {
  if (typeof given === "string") checkCharacters(info, given.length, "prompt");
  else if (given.length > info.contextSize) throw tooLong(info, given.length, "tokens", "prompt");
  else checkTokens(info, given, "prompt");
}

function usageOf(prompts: readonly Prompt[], completions: readonly (readonly Token[])[]): Usage {
  const count = (lists: readonly { readonly length: number }[]): number =>
    lists.reduce((sum, { length }) => sum + length, 0);
  const [prompt, completion] = [count(prompts.map(({ tokens }) => tokens)), count(completions)];
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
}

/** Its first `lead` tokens are not part of its text. */
interface LedPrompt extends Prompt {
  readonly lead: number;
}

/** A prompt's choices, and what was sampled of each. */
async function completeOne(
  engine: Engine,
  call: Call,
  work: Try,
  prompt: LedPrompt,
  place: number,
  onPiece: (choice: Choice) => void,
) {
  const { body, resolved } = call;
  const count = body.n ?? 1;
  const first = place * count;
  const echo = body.echo ? await echoOf(engine, call, work, prompt) : { text: "", details: [] };
  const indexes = Array.from({ length: count }, (_, i) => first + i);
  if (body.echo) for (const index of indexes) onPiece({ index, ...echo, finish: null });
  const parameters = samplingOf(body, resolved.policy);
  const shift = (details: readonly TokenDetail[]) =>
    details.map((detail) => ({ ...detail, offset: detail.offset + echo.text.length }));
  const greedy = parameters.temperature === 0;
  const options = {
    parameters,
    count: greedy ? 1 : count,
    seed: call.seed + place,
    logprobs: false,
    topLogprobs: body.logprobs ?? undefined,
    usage: work.tokens,
    signal: work.signal,
    onPrefill: () => work.enter("prefill"),
    onBegin: () => work.enter("sample"),
    onText: (i: number, text: string, details: readonly TokenDetail[]) => {
      for (const index of greedy ? indexes : [first + i])
        onPiece({ index, text, finish: null, details: shift(details) });
    },
  };
  const sampled: Omit<Candidate, "index">[] = [];
  if (parameters.maxTokens === 0) sampled.push({ text: "", finish: "length", sample: null, details: [] });
  else
    for await (const candidate of sampleCandidates({ engine, format: "chat", prompt }, options))
      sampled[candidate.index] = candidate;
  return indexes.map((index, i) => {
    const { text, finish, details } = (sampled[i] ?? sampled[0]) as Candidate;
    const choice: Choice = { index, text: echo.text + text, finish, details: [...echo.details, ...shift(details)] };
    onPiece({ index, text: "", finish, details: [] });
    return { choice, sampled: text };
  });
}

/** The prompt's text, and what the model thinks of its tokens. */
async function echoOf(
  engine: Engine,
  { body, tenant }: Call,
  { tokens: usage, signal }: Try,
  { tokens, lead }: LedPrompt,
): Promise<{ text: string; details: PlacedDetail[] }> {
  const described = await engine.describe(tokens, signal);
  const scored: TokenDetail[] = [];
  const [head, ...rest] = tokens as [Token, ...Token[]];
  if (tellsPrompt(body) && rest.length > 0) {
    const events = engine.score({ tokens: [head], end: head, tenant }, [rest], signal, body.logprobs ?? 0);
    for await (const event of counted(events, 1, usage))
      if (event.type === "scored") scored.push(...(event.details ?? []));
  }
  let offset = 0;
  const details: PlacedDetail[] = [];
  for (const [i, { text, bytes }] of described.entries()) {
    if (i < lead) continue;
    const { logprob = null, top = [] } = scored[i - 1] ?? {};
    details.push({ text, bytes, logprob, top, offset });
    offset += text.length;
  }
  const bytes = details.flatMap((detail) => detail.bytes);
  return {
    text: new TextDecoder().decode(Uint8Array.from(bytes)),
    details: tellsPrompt(body) ? details : [],
  };
}

type Piece = { readonly type: "choice"; readonly choice: Choice } | { readonly type: "end"; readonly usage: Usage };

function stream(c: Context, dependencies: AppDependencies, call: Call, demand: Demand): Promise<Response> {
  const { body } = call;
  c.get("observer").note({ stream: true });
  return streamAnswer<Piece>(c, dependencies, {
    events: (reader) =>
      streamWork<Piece>(askerOf(c), reader, dependencies, demand, async (work, { push }) => {
        const onPiece = (choice: Choice): void => push({ type: "choice", choice }, sizeOf(choice.text, choice.details));
        const { usage } = await work.attempt((tokens) => complete(c, call, { ...work, tokens }, onPiece));
        return { rest: [{ type: "end", usage }] };
      }),
    async *write(pieces): AsyncGenerator<ServerSentEvent> {
      const isUsageWanted = body.stream_options?.include_usage === true;
      for await (const piece of pieces)
        if (piece.type === "choice")
          yield {
            data: {
              ...common(call),
              choices: [renderChoice(piece.choice, body)],
              ...(isUsageWanted && { usage: null }),
            },
          };
        else if (isUsageWanted) yield { data: { ...common(call), choices: [], usage: piece.usage } };
      yield { data: "[DONE]" };
    },
    fail: (error) => [{ data: error }],
  });
}
