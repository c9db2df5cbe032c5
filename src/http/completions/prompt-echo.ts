/** @module What `echo` adds: the prompt's text, and what the model thinks of every token that evaluators count. */
import type { Engine, SamplingParameters, Token, TokenDetail } from "../../engine/engine.ts";
import type { Candidate } from "../../icdpo/sample.ts";
import { counted, type TokenUsage } from "../../icdpo/token-usage.ts";
import type { PlacedDetail } from "./completion-answer.ts";
import { type CompletionsRequest, tellsPrompt } from "./completion-request.ts";
import type { LedPrompt } from "./given-prompts.ts";

/** Whose tokens, and where they are counted. */
interface Asked {
  readonly engine: Engine;
  readonly body: CompletionsRequest;
  readonly usage: TokenUsage;
  readonly signal: AbortSignal;
}

/** The prompt's text, and its tokens' log-probabilities where they are asked for. */
export async function echoOf(
  { engine, body, usage, signal }: Asked,
  { tokens, lead, tenant }: LedPrompt,
): Promise<{ text: string; details: PlacedDetail[] }> {
  const described = await engine.describe(tokens, signal);
  const [head, ...rest] = tokens as readonly [Token, ...Token[]];
  const prompt: LedPrompt = { tokens: [head], end: head, tenant, lead: 0 };
  const isTold = tellsPrompt(body) && rest.length > 0;
  const scored = isTold ? await scoreTokens({ engine, body, usage, signal }, prompt, rest) : [];
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

/**
 * Details of sampled tokens that the text does not show, half a character and the token that closed it: who asks for a
 * prompt's log-probabilities takes the last so many for the answer's. An engine that does not tell is asked to score
 * them, the closing one as the prompt's end token.
 */
export async function restOf(
  asked: Asked,
  prompt: LedPrompt,
  { sample, details, finish, text, stopString }: Omit<Candidate, "index">,
  { maxTokens, stop }: SamplingParameters,
): Promise<readonly TokenDetail[]> {
  if (!tellsPrompt(asked.body) || sample === null) return [];
  if (sample.rest !== undefined) return sample.rest;
  const { tokens } = sample;
  // An engine that tells of no stop string may have met one.
  if (finish === "stop" && (stopString !== undefined || stop.length > 0)) return [];
  const closing = finish === "stop" && tokens.length < maxTokens ? [prompt.end] : [];
  const hidden = [...tokens.slice(details.length), ...closing];
  if (hidden.length === 0) return [];
  const before = { ...prompt, tokens: [...prompt.tokens, ...tokens.slice(0, details.length)] };
  return (await scoreTokens(asked, before, hidden)).map((detail) => ({ ...detail, offset: text.length }));
}

async function scoreTokens(
  { engine, body, usage, signal }: Asked,
  prompt: LedPrompt,
  tokens: readonly Token[],
): Promise<TokenDetail[]> {
  const details: TokenDetail[] = [];
  const events = engine.score(prompt, [tokens], signal, body.logprobs ?? 0);
  for await (const event of counted(events, prompt.tokens.length, usage))
    if (event.type === "scored") details.push(...(event.details ?? []));
  return details;
}
