/**
 * @module Reward models: how good a response is, a number for each. RM_test of the paper, or a teacher's
 * log-probability.
 */
import {
  answerTo,
  baseContext,
  boundedFetch,
  type Conversation,
  cancelled,
  type Engine,
  encodeContext,
  forcedSums,
  GatewayError,
  growingPause,
  isRedirect,
  messageOf,
  noUsage,
  type PromptFormat,
  redirected,
  retry,
  rewardProtocols,
  tokenizeResponse,
} from "icdpo-gateway/laboratory";
import { z } from "zod";
import type { Kind, ResultCache } from "./cache.ts";
import { versions } from "./versions.ts";

export interface RewardModel {
  /** The same id, the same rewards. */
  readonly id: string;
  /** Larger is better. Throws "engine_unavailable". */
  reward(conversation: Conversation, response: string, signal: AbortSignal): Promise<number>;
  close(): Promise<void>;
}

const rewardKind: Kind<number> = { name: "reward", version: versions.rewards.version, schema: z.number() };

/** No response is rewarded twice. */
export function cachedReward(model: RewardModel, cache: ResultCache): RewardModel {
  const { id } = model;
  return {
    id,
    reward: (conversation, response, signal) =>
      cache.recall(rewardKind, [id, turnsOf(conversation), response], () =>
        model.reward(conversation, response, signal),
      ),
    close: () => model.close(),
  };
}

export interface RewardEndpoint {
  readonly url: string;
  readonly apiKey?: string | undefined;
  /** Of a call that failed for a reason that may pass. */
  readonly retries: number;
  readonly fetch: typeof fetch;
  readonly pause: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/**
 * An endpoint that rewards: POST `{messages, response}` → `{reward}`. A URL that ends in `/classify` is vLLM's, which
 * is asked for raw logits: the only class's, or the second's less the first's.
 */
export function httpReward(endpoint: RewardEndpoint): RewardModel {
  const { body, answer } = rewardProtocols[endpoint.url.endsWith("/classify") ? "classify" : "http"];
  return {
    id: endpoint.url,
    async reward(conversation, response, signal) {
      return understood(endpoint, answer, await post(endpoint, body(conversation, response), signal));
    },
    close: async () => {},
  };
}

function understood<Answer>({ url }: RewardEndpoint, schema: z.ZodType<Answer>, answer: unknown): Answer {
  const { data, success } = schema.safeParse(answer);
  if (success) return data;
  throw new GatewayError("engine_unavailable", `${url} gave no reward: what came is no reward`);
}

function turnsOf(conversation: Conversation) {
  return conversation.map(({ role, content }) => ({ role, content }));
}

const passing: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);
const firstPauseMs = 500;
const longestPauseMs = 60_000;
const callMs = 300_000;

/** JSON that the endpoint answers with. */
async function post(endpoint: RewardEndpoint, body: unknown, signal: AbortSignal): Promise<unknown> {
  const { url, apiKey, retries, fetch, pause } = endpoint;
  const headers = {
    "content-type": "application/json",
    ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
  };
  const sent = JSON.stringify(body);
  const bounded = boundedFetch(fetch, { name: url, most: answerTo(sent).whole, wholeMs: callMs });
  const attempt = async (): Promise<unknown> => {
    try {
      const answer = await bounded(url, { method: "POST", headers, body: sent, signal, redirect: "manual" });
      if (answer.ok) return await answer.json();
      await answer.body?.cancel();
      throw refusalOf(url, answer);
    } catch (error) {
      if (signal.aborted) throw cancelled(signal);
      if (error instanceof GatewayError) throw error;
      // A parser would quote what it could not read.
      throw new Passing(url, error instanceof SyntaxError ? "what came is no JSON" : messageOf(error));
    }
  };
  const pauseMs = (failures: number): number => growingPause(failures - 1, firstPauseMs, longestPauseMs);
  const mayPass = (error: unknown): boolean => error instanceof Passing;
  return retry(attempt, { attempts: 1 + retries, pauseMs, longestMs: longestPauseMs, mayPass, signal, pause });
}

/** A failure for a reason that may pass. */
class Passing extends GatewayError {
  constructor(url: string, problem: string, retryAfter = 0) {
    super("engine_unavailable", `${url} gave no reward: ${problem}`, { ...(retryAfter > 0 && { retryAfter }) });
  }
}

function refusalOf(url: string, { status, headers }: Response): GatewayError {
  if (passing.has(status)) return new Passing(url, String(status), Number(headers.get("retry-after")));
  const moved = isRedirect(status) ? ` ${redirected(url, headers.get("location")).message}` : "";
  return new GatewayError("engine_unavailable", `${url} gave no reward: ${status}${moved}`);
}

/**
 * log π(y ∣ x) of a model without demonstrations, in nats, as RM-BoN uses its teacher's: the sum with the closing
 * token, or its mean per token.
 */
export async function engineReward(
  engine: Engine,
  format: PromptFormat,
  normalize: "sum" | "token",
): Promise<RewardModel> {
  const { model } = await engine.info();
  return {
    id: `log-probability ${normalize} ${format} ${model}`,
    async reward(conversation, text, signal) {
      const prompt = await encodeContext(engine, baseContext(format, conversation), signal);
      const candidate = { index: 0, text, finish: "stop", sample: null, details: [] } as const;
      const context = { engine, format, prompt };
      const { idsWithEos } = await tokenizeResponse(candidate, [context], signal);
      const [sum] = await forcedSums(context, [idsWithEos], { usage: noUsage(), signal });
      return (sum as number) / (normalize === "token" ? idsWithEos.length : 1);
    },
    close: async () => {},
  };
}
