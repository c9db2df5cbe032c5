/** @module What llama-cpp-python's server lets one find out about the model that it runs. */
import { z } from "zod";
import { ServerError } from "../../client/server-error.ts";
import { GatewayError } from "../../types/error.ts";
import { tooLong } from "../characters.ts";
import type { EngineInfo, Prompt, Token } from "../engine.ts";
import type { RemoteSettings, RemoteWorld } from "../engines.ts";
import type { OneCallServer } from "./one-call-server.ts";

const listed = z.object({ data: z.array(z.object({ id: z.string() })).min(1) });
export const chunk = z.object({
  choices: z.array(z.object({ text: z.string(), finish_reason: z.string().nullish() })),
});
export const echoed = z.object({
  choices: z.tuple([z.object({ logprobs: z.object({ token_logprobs: z.array(z.number().nullable()) }) })]),
});
export const path = "/v1/completions";

/** The server does not say how long a context may be: its own default. */
const usualContextSize = 2048;
/** Nor what ends a text: the first of these that the model knows, and ends at. */
const endings = [
  "</s>",
  "<eos>",
  "<|end_of_text|>",
  "<|endoftext|>",
  "<|im_end|>",
  "<|eot_id|>",
  "<end_of_turn>",
  "<|end|>",
  "<｜end▁of▁sentence｜>",
];
const decisive = 1000;

const lacks = {
  repetitionPenalty: "llama-cpp-python's server looks at the last 64 tokens only",
  minTokens: "llama-cpp-python's server keeps no model from ending",
  ignoreEos: "llama-cpp-python's server keeps no model from ending",
};

export interface LlamaCppPythonModel {
  readonly info: EngineInfo;
  /** BOS, or nothing. */
  readonly opening: readonly Token[];
  readonly end: Token;
  /** How the end token is spelled; "" where it is not known. */
  readonly ending: string;
}

export async function readModel(
  server: OneCallServer,
  settings: RemoteSettings,
  world: RemoteWorld,
  signal?: AbortSignal,
): Promise<LlamaCppPythonModel> {
  const { data } = await server.json({ path: "/v1/models", answer: listed, signal });
  const model = settings.model ?? data[0]?.id ?? "";
  const opening = await server.tokenize("", signal);
  const closing = await findEnding(server, opening.length, signal);
  const score = opening.length > 0 && closing !== null && (await tellsLogprobs(server, signal));
  if (!score)
    world.log(
      "engine: this llama-cpp-python server cannot score; that takes --logits_all true, and a model that begins with BOS.",
    );
  return {
    info: {
      model: model.split(/[/\\]/u).at(-1) ?? model,
      contextSize: settings.contextSize ?? usualContextSize,
      longerContext: "Start the server with a larger --n_ctx, and say so in this engine's context_size.",
      capabilities: { chat: false, text: true, score, grammar: true, tools: null, lacks },
    },
    opening,
    ...(closing ?? { end: -1, ending: "" }),
  };
}

/** In a stream, the server breaks off without a word. */
export function checkLength({ info }: LlamaCppPythonModel, { tokens }: Prompt): void {
  if (tokens.length >= info.contextSize) throw tooLong(info, tokens.length, "tokens", "messages");
}

export function noDetails(): GatewayError {
  return new GatewayError(
    "unsupported_parameter",
    "llama-cpp-python's server tells no log-probabilities that can be matched with tokens.",
    { param: "logprobs" },
  );
}

async function findEnding(
  server: OneCallServer,
  opening: number,
  signal: AbortSignal | undefined,
): Promise<{ end: Token; ending: string } | null> {
  for (const ending of endings) {
    const [token, ...more] = (await server.tokenize(ending, signal)).slice(opening);
    if (token === undefined || more.length > 0) continue;
    const body = { prompt: "a", max_tokens: 1, temperature: 0, logit_bias: { [token]: decisive } };
    const { choices } = await server.json({ path, body, answer: chunk, signal });
    if (choices[0]?.finish_reason === "stop") return { end: token, ending };
  }
  return null;
}

async function tellsLogprobs(server: OneCallServer, signal: AbortSignal | undefined): Promise<boolean> {
  try {
    await server.json({ path, body: { prompt: "a", max_tokens: 1, echo: true, logprobs: 1 }, answer: echoed, signal });
    return true;
  } catch (error) {
    if (error instanceof ServerError && error.says("logits_all")) return false;
    throw error;
  }
}
