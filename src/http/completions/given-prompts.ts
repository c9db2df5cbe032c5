/** @module The prompts of a request as its engine takes them: text or token ids, control tokens, a gap to be filled. */
import { checkCharacters, checkTokens, tooLong } from "../../engine/characters.ts";
import type { Engine, EngineInfo, InfillTokens, Prompt, Token } from "../../engine/engine.ts";
import { GatewayError } from "../../types/error.ts";
import { type CompletionsRequest, parsesSpecial, promptsOf } from "./completion-request.ts";

/** Its first `lead` tokens are not part of its text. */
export interface LedPrompt extends Prompt {
  readonly lead: number;
}

/** Throws "context_length_exceeded", and "invalid_request" or "unsupported_parameter" by the field's name. */
export async function readPrompts(
  engine: Engine,
  info: EngineInfo,
  body: CompletionsRequest,
  signal: AbortSignal,
): Promise<LedPrompt[]> {
  // Before any prompt is worked on, for a stream of several has begun when the last one's turn comes.
  for (const given of promptsOf(body)) checkGiven(info, given);
  const infill = body.suffix ? infillOf(info, body.suffix) : null;
  const { end } = await engine.textPrompt("", signal);
  const read = async (given: string | readonly Token[]): Promise<LedPrompt> => {
    if (typeof given !== "string") return { tokens: given, end, lead: 0 };
    const prompt = await textPrompt(engine, given, body, signal);
    return infill === null ? prompt : around(infill, prompt, await suffixTokens(engine, body, signal));
  };
  const prompts = await Promise.all(promptsOf(body).map(read));
  if (prompts.some(({ tokens }) => tokens.length === 0))
    throw new GatewayError("invalid_request", "Invalid 'prompt': it is empty.", { param: "prompt" });
  return prompts;
}

function checkGiven(info: EngineInfo, given: string | readonly Token[]): void {
  if (typeof given === "string") checkCharacters(info, given.length, "prompt");
  else if (given.length > info.contextSize) throw tooLong(info, given.length, "tokens", "prompt");
  else checkTokens(info, given, "prompt");
}

async function textPrompt(
  engine: Engine,
  text: string,
  body: CompletionsRequest,
  signal: AbortSignal,
): Promise<LedPrompt> {
  const { opening, ...prompt } = await engine.textPrompt(text, signal, parsesSpecial(body));
  if (body.add_special_tokens !== false) return { ...prompt, lead: opening ?? 0 };
  if (opening === undefined)
    throw new GatewayError("unsupported_parameter", "This route's engine begins every text as its tokenizer does.", {
      param: "add_special_tokens",
    });
  return { ...prompt, tokens: prompt.tokens.slice(opening), lead: 0 };
}

function infillOf(info: EngineInfo, suffix: string): InfillTokens {
  const { infill } = info.capabilities;
  if (infill === undefined)
    throw new GatewayError(
      "unsupported_parameter",
      "Invalid 'suffix': this route's model has no tokens for filling in the middle, or its engine does not tell which they are.",
      { param: "suffix" },
    );
  checkCharacters(info, suffix.length, "suffix");
  return infill;
}

async function suffixTokens(engine: Engine, body: CompletionsRequest, signal: AbortSignal): Promise<readonly Token[]> {
  const suffix = body.suffix ?? "";
  if (!parsesSpecial(body)) return (await engine.tokenize([suffix], signal))[0] ?? [];
  const { tokens, opening = 0 } = await engine.textPrompt(suffix, signal, true);
  return tokens.slice(opening);
}

/** As llama-server's `/infill` has it: what precedes the gap, what follows it, and the model goes on in between. */
function around({ prefix, suffix, middle }: InfillTokens, prompt: LedPrompt, after: readonly Token[]): LedPrompt {
  const { tokens, lead } = prompt;
  return { ...prompt, tokens: [...tokens.slice(0, lead), prefix, ...tokens.slice(lead), suffix, ...after, middle] };
}
