/**
 * @module llama-cpp-python's tokenizer. It recognises control tokens everywhere: text that spells one is parted, broken
 * up or refused.
 */
import { GatewayError } from "../../types/error.ts";
import type { Prompt, Token } from "../engine.ts";
import type { OneCallServer } from "./one-call-server.ts";

/** What control tokens are spelled like. */
const marker = /<(?=[^<>\s]{1,64}>)|\[(?=[^[\]\s]{1,64}\])/gu;

/** A prompt and its text: the server takes no token ids. */
export interface TextPrompt extends Prompt {
  readonly text: string;
}

/** Plain text, without the `opening` tokens that the server puts first. */
export async function tokenizePlain(
  server: OneCallServer,
  opening: number,
  text: string,
  signal: AbortSignal | undefined,
): Promise<Token[]> {
  // In parts, the spellings of control tokens are plain text.
  const parts = (await holdsControl(server, text, signal)) ? text.split(/(?<=[<[])/u) : [text];
  const tokens: Token[] = [];
  for (const part of parts) tokens.push(...(await server.tokenize(part, signal)).slice(opening));
  return tokens;
}

/** A control token's spelling in the text is broken up by a space, or refused. */
export async function guardText(server: OneCallServer, text: string, signal: AbortSignal | undefined): Promise<string> {
  if (!(await holdsControl(server, text, signal))) return text;
  const guarded = text.replace(marker, "$& ");
  if (guarded !== text && (await holdsControl(server, guarded, signal)))
    throw new GatewayError(
      "invalid_request",
      "The text holds the spelling of a control token, which llama-cpp-python's server would take for one.",
    );
  return guarded;
}

export async function textOf(server: OneCallServer, prompt: Prompt, signal: AbortSignal | undefined): Promise<string> {
  if ("text" in prompt) return (prompt as TextPrompt).text;
  const text = await server.detokenize(prompt.tokens, signal);
  if ((await server.tokenize(text, signal)).join() === prompt.tokens.join()) return text;
  throw new GatewayError(
    "unsupported_parameter",
    "llama-cpp-python's server takes no token ids, and makes other tokens of their text.",
  );
}

async function holdsControl(server: OneCallServer, text: string, signal: AbortSignal | undefined): Promise<boolean> {
  if (!/[<[]/u.test(text)) return false;
  return (await server.detokenize(await server.tokenize(text, signal), signal)).trimStart() !== text.trimStart();
}
