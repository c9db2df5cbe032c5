/** @module An engine that does what a test says, fast and the same each time. A token is a UTF-16 code unit, so every text can be read off its tokens. */
import type { Engine, EngineInfo, Prompt, Sample, SampleEvent, SampleRequest, Token } from "../../src/engine/engine.ts";
import type { Conversation } from "../../src/types/conversation.ts";
import { cancelled } from "../../src/types/error.ts";

/** No text holds these. */
export const endOfText: Token = 0;
export const endOfTurn: Token = 1;

export interface Script {
  /** What sample `index` says. `finish` "stop" unless given; a stop string cuts it as an engine would. */
  readonly sample?: (index: number, prompt: string, request: SampleRequest) => { text: string; finish?: "stop" | "length" };
  /** log π of a whole response (closed by its end token) after a context, in nats; spread evenly over its tokens. */
  readonly sum?: (context: string, response: string) => number;
  readonly contextSize?: number;
  readonly capabilities?: EngineInfo["capabilities"];
  readonly model?: string;
  /** Awaited before each sample's text and before each scoring; lets a test hold the engine up. */
  readonly pause?: (what: "sample" | "score", signal: AbortSignal | undefined) => Promise<void>;
}

export type ScriptedCall =
  | { readonly type: "sample"; readonly context: string; readonly request: SampleRequest }
  | { readonly type: "score"; readonly context: string; readonly responses: readonly string[] };

export class ScriptedEngine implements Engine {
  readonly calls: ScriptedCall[] = [];
  readonly #script: Script;

  constructor(script: Script = {}) {
    this.#script = script;
  }

  async info(): Promise<EngineInfo> {
    const { contextSize = 100_000, capabilities = { chat: true, score: true }, model = "scripted" } = this.#script;
    return { model, contextSize, capabilities };
  }

  async tokenize(texts: readonly string[]): Promise<Token[][]> {
    return texts.map(encode);
  }

  async textPrompt(text: string): Promise<Prompt> {
    return { tokens: encode(text), end: endOfText };
  }

  async chatPrompt(messages: Conversation): Promise<Prompt> {
    const turns = messages.map(({ role, content }) => `<${role}>${content}</${role}>`);
    return { tokens: encode(`${turns.join("")}<assistant>`), end: endOfTurn };
  }

  async *sample(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
    const context = decode(prompt.tokens);
    this.calls.push({ type: "sample", context, request });
    for (const index of request.seeds.keys()) {
      await this.#script.pause?.("sample", signal);
      if (signal?.aborted) throw cancelled(signal);
      const said = this.#script.sample?.(index, context, request) ?? { text: `answer ${index}` };
      const cut = Math.min(...request.stop.map((stop) => said.text.indexOf(stop)).filter((at) => at >= 0), said.text.length);
      const text = said.text.slice(0, cut);
      for (const piece of text.match(/\s*\S+|\s+/gu) ?? []) yield { type: "text", index, text: piece };
      yield { type: "done", index, sample: this.#note(context, prompt.end, text, said.finish ?? "stop", request.logprobs) };
    }
  }

  async score(prompt: Prompt, completions: readonly (readonly Token[])[], signal?: AbortSignal): Promise<number[][]> {
    const context = decode(prompt.tokens);
    this.calls.push({ type: "score", context, responses: completions.map((tokens) => decode(tokens.slice(0, -1))) });
    await this.#script.pause?.("score", signal);
    if (signal?.aborted) throw cancelled(signal);
    return completions.map((tokens) => this.#logprobs(context, tokens));
  }

  #note(context: string, end: Token, text: string, finish: "stop" | "length", noted: boolean): Sample {
    const tokens = encode(text);
    if (!noted) return { text, finish, tokens, logprobs: [], endLogprobs: [] };
    const logprobs = this.#logprobs(context, [...tokens, end]);
    return { text, finish, tokens, logprobs: logprobs.slice(0, -1), endLogprobs: logprobs };
  }

  #logprobs(context: string, closed: readonly Token[]): number[] {
    const sum = this.#script.sum?.(context, decode(closed.slice(0, -1))) ?? -closed.length;
    return closed.map(() => sum / closed.length);
  }
}

export function encode(text: string): Token[] {
  return Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
}

export function decode(tokens: readonly Token[]): string {
  return tokens.map((token) => String.fromCharCode(token)).join("");
}
