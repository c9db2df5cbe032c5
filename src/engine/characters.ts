/**
 * @module Prompts that cannot be. Prompts that leave no room for an answer are refused; texts that cannot fit into a context by their characters, before
 * they are rendered and tokenised, which takes long; tokens that the model does not have, before anything is sampled.
 */
import type { Conversation, Tool } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import type { EngineInfo, Token } from "./engine.ts";

/** Where a vocabulary is not known: as long as the longest tokens of those in use, runs of spaces. */
export const usualLongestToken = 128;

/** A text of more characters takes more tokens than the context holds. */
export function mostCharacters({ contextSize, mostCharacters = contextSize * usualLongestToken }: EngineInfo): number {
  return mostCharacters;
}

/** Throws "context_length_exceeded" where so many characters cannot fit. */
export function checkCharacters(info: EngineInfo, characters: number, param: string): void {
  if (characters > mostCharacters(info)) throw tooLong(info, characters, "characters", param);
}

export function tooLong(
  { contextSize, longerContext }: Pick<EngineInfo, "contextSize" | "longerContext">,
  count: number,
  unit: "characters" | "tokens",
  param: string,
): GatewayError {
  const advice = [`Shorten '${param}'.`, ...(longerContext === undefined ? [] : [longerContext])].join(" ");
  const message = `A request may take ${contextSize} tokens, its answer among them; ${count} ${unit} do not fit. ${advice}`;
  return new GatewayError("context_length_exceeded", message, { param });
}

/** Throws "invalid_request" where a token is none of the model's, as far as that is known. */
export function checkTokens({ vocabularySize }: EngineInfo, tokens: readonly Token[], param: string): void {
  const unknown = vocabularySize === undefined ? undefined : tokens.find((token) => token >= vocabularySize);
  if (unknown !== undefined) throw noSuchToken(unknown, vocabularySize as number, param);
}

export function noSuchToken(token: Token, vocabularySize: number, param: string): GatewayError {
  const message = `The model has no token ${token}: its tokens are 0 to ${vocabularySize - 1}.`;
  return new GatewayError("invalid_request", message, { param });
}

/** What a chat template writes out, but for its own words. */
export function charactersOf(conversation: Conversation, tools: readonly Tool[] = []): number {
  const written = conversation.reduce(
    (sum, { content, toolCalls = [] }) =>
      toolCalls.reduce((inner, call) => inner + call.arguments.length, sum + content.length),
    0,
  );
  return tools.length === 0 ? written : written + JSON.stringify(tools).length;
}
