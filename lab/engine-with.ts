/** @module An engine that does some things in another way. */
import { counted, type Engine, type TokenUsage } from "icdpo-gateway/laboratory";

export type Replaced = Partial<Pick<Engine, "sample" | "score">>;

export function engineWith(engine: Engine, { sample, score }: Replaced): Engine {
  return {
    info: (signal) => engine.info(signal),
    tokenize: (texts, signal) => engine.tokenize(texts, signal),
    describe: (tokens, signal) => engine.describe(tokens, signal),
    detokenize: (tokens, signal) => engine.detokenize(tokens, signal),
    textPrompt: (text, signal) => engine.textPrompt(text, signal),
    chatPrompt: (messages, signal, tools) => engine.chatPrompt(messages, signal, tools),
    sample: sample ?? ((prompt, request, signal) => engine.sample(prompt, request, signal)),
    score:
      score ?? ((prompt, completions, signal, topLogprobs) => engine.score(prompt, completions, signal, topLogprobs)),
  };
}

/** The same; `usage` grows by what it works through. */
export function countedEngine(engine: Engine, usage: TokenUsage): Engine {
  return engineWith(engine, {
    sample: (prompt, request, signal) => counted(engine.sample(prompt, request, signal), prompt.tokens.length, usage),
    score: (prompt, completions, signal, topLogprobs) =>
      counted(engine.score(prompt, completions, signal, topLogprobs), prompt.tokens.length, usage),
  });
}
