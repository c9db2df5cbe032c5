/**
 * @module An engine that does what a test says, fast and the same each time. A token is a UTF-16 code unit, so every
 * text can be read off its tokens.
 */
import type {
  Engine,
  EngineInfo,
  PrefillEvent,
  Prompt,
  PromptEvent,
  Sample,
  SampleEvent,
  SampleRequest,
  ScoreEvent,
  TemplateVariables,
  Token,
  TokenDetail,
  TokenText,
} from "../../src/engine/engine.ts";
import type { Conversation, Tool } from "../../src/types/conversation.ts";
import { cancelled } from "../../src/types/error.ts";

/** No text holds these. */
export const endOfText: Token = 0;
export const endOfTurn: Token = 1;
/** A control token, which raw text spells `<|mark|>`; and what a text begins with, where a script says so. */
export const mark: Token = 2;
export const beginning: Token = 3;

export interface Script {
  /** What sample `index` says. `finish` "stop" unless given; a stop string cuts it as an engine would. */
  readonly sample?: (
    index: number,
    prompt: string,
    request: SampleRequest,
  ) => { text: string; finish?: "stop" | "length" };
  /** log π of a whole response (closed by its end token) after a context, in nats; spread evenly over its tokens. */
  readonly sum?: (context: string, response: string) => number;
  readonly contextSize?: number;
  readonly capabilities?: EngineInfo["capabilities"];
  readonly model?: string;
  readonly sharesPrefixes?: boolean;
  /** Texts begin with a token of their own, which is spelled `<|begin|>`. */
  readonly begins?: boolean;
  /**
   * Tokens of a context that were found in a cache; asked when it is at hand. Null: the engine says nothing of
   * contexts.
   */
  readonly cached?: ((context: string) => number) | null;
  /** How many of a context's tokens have been fed, part by part, before it is at hand; none unless given. */
  readonly prefill?: (context: string) => Iterable<number>;
  /**
   * Awaited before the text of sample `index` and before completion `index` of a call is scored; lets a test hold the
   * engine up.
   */
  readonly pause?: (what: "sample" | "score", signal: AbortSignal | undefined, index: number) => Promise<void>;
}

/**
 * A call's work is open until it has been done, has failed (a fired signal included), or has been left by who iterates
 * it.
 */
type CallState = "open" | "done" | "failed" | "left";

export type ScriptedCall =
  | { readonly type: "sample"; readonly context: string; readonly request: SampleRequest; state: CallState }
  | { readonly type: "score"; readonly context: string; readonly responses: string[]; state: CallState };

export class ScriptedEngine implements Engine {
  readonly calls: ScriptedCall[] = [];
  /** Tokens that it went through: prompts but for what was in the cache, samples, completions that were scored. */
  worked = 0;
  /** Resolves when a sampling call is open no more. */
  readonly sampled: Promise<void>;
  readonly #script: Script;
  #endSampled = (): void => {};

  constructor(script: Script = {}) {
    this.#script = script;
    this.sampled = new Promise((resolve) => {
      this.#endSampled = resolve;
    });
  }

  async info(): Promise<EngineInfo> {
    const {
      contextSize = 100_000,
      capabilities = { chat: true, text: true, score: true, grammar: true, contrast: true, tools: null },
      model = "scripted",
      sharesPrefixes,
    } = this.#script;
    const vocabularySize = 65_536;
    return {
      model,
      contextSize,
      vocabularySize,
      capabilities,
      ...(sharesPrefixes !== undefined && { sharesPrefixes }),
    };
  }

  async tokenize(texts: readonly string[]): Promise<Token[][]> {
    return texts.map(encode);
  }

  async describe(tokens: readonly Token[]): Promise<TokenText[]> {
    return tokens.map(describeToken);
  }

  async detokenize(tokens: readonly Token[]): Promise<string> {
    return decode(tokens);
  }

  async textPrompt(text: string, _signal?: AbortSignal, special = false): Promise<Prompt> {
    const own = encode(special ? text.replaceAll("<|mark|>", "\u0002").replaceAll("<|begin|>", "\u0003") : text);
    const opening = this.#script.begins === true && own[0] !== beginning ? [beginning] : [];
    return { tokens: [...opening, ...own], end: endOfText, opening: opening.length };
  }

  async chatPrompt(
    messages: Conversation,
    _signal?: AbortSignal,
    _tools?: readonly Tool[],
    variables?: TemplateVariables,
  ): Promise<Prompt> {
    const was = (thought: string | undefined): string => (thought === undefined ? "" : `<was ${thought}>`);
    const turns = messages.map(({ role, content, thought }) => `<${role}>${was(thought)}${content}</${role}>`);
    const told = variables === undefined ? "" : `<told ${JSON.stringify(variables)}>`;
    return { tokens: encode(`${told}${turns.join("")}<assistant>`), end: endOfTurn };
  }

  async *sample(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
    const call: ScriptedCall = { type: "sample", context: decode(prompt.tokens), request, state: "open" };
    try {
      yield* this.#followed(call, this.#samples(prompt, request, signal));
    } finally {
      this.#endSampled();
    }
  }

  async *score(
    prompt: Prompt,
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
    signal?: AbortSignal,
    topLogprobs?: number,
  ): AsyncGenerator<ScoreEvent> {
    const call = { type: "score", context: decode(prompt.tokens), responses: [], state: "open" } satisfies ScriptedCall;
    yield* this.#followed(call, this.#scores(call, completions, signal, topLogprobs));
  }

  async *#followed<Event>(call: ScriptedCall, events: AsyncIterable<Event>): AsyncGenerator<Event> {
    this.calls.push(call);
    try {
      yield* events;
      call.state = "done";
    } catch (error) {
      call.state = "failed";
      throw error;
    } finally {
      if (call.state === "open") call.state = "left";
    }
  }

  async *#samples(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
    const context = decode(prompt.tokens);
    const against = request.contrast && decode(request.contrast.prompt.tokens);
    yield* this.#ready(`${context}${against ?? ""}`, signal);
    for (const index of request.seeds.keys()) {
      await unlessCancelled(this.#script.pause?.("sample", signal, index), signal);
      const said = this.#script.sample?.(index, context, request) ?? { text: `answer ${index}` };
      const cut = Math.min(
        ...request.stop.map((stop) => said.text.indexOf(stop)).filter((at) => at >= 0),
        said.text.length,
      );
      const stopString = request.stop.find((stop) => said.text.startsWith(stop, cut));
      const text = said.text.slice(0, cut);
      const details = this.#details(
        encode(text),
        this.#logprobs(context, [...encode(text), prompt.end]),
        request.topLogprobs,
      );
      let offset = 0;
      for (const piece of text.match(/\s*\S+|\s+/gu) ?? []) {
        this.worked += piece.length * (against === undefined ? 1 : 2);
        yield {
          type: "text",
          index,
          text: piece,
          tokens: piece.length,
          details: details?.slice(offset, offset + piece.length),
        };
        offset += piece.length;
      }
      const sample = this.#note(context, prompt.end, text, said.finish ?? "stop", request.logprobs);
      const logRatios =
        against === undefined ? undefined : this.#ratios(context, against, [...encode(text), prompt.end]);
      yield { type: "done", index, sample: { ...sample, stopString, details, logRatios } };
    }
  }

  async *#scores(
    { context, responses }: { readonly context: string; readonly responses: string[] },
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
    signal?: AbortSignal,
    topLogprobs?: number,
  ): AsyncGenerator<ScoreEvent> {
    yield* this.#ready(context, signal);
    const coming =
      Symbol.asyncIterator in completions ? completions[Symbol.asyncIterator]() : completions[Symbol.iterator]();
    for (let index = 0; ; index++) {
      const next = await unlessCancelled(coming.next(), signal);
      if (next.done) return;
      responses.push(decode(next.value.slice(0, -1)));
      await unlessCancelled(this.#script.pause?.("score", signal, index), signal);
      this.worked += next.value.length;
      const logprobs = this.#logprobs(context, next.value);
      yield { type: "scored", index, logprobs, details: this.#details(next.value, logprobs, topLogprobs) };
    }
  }

  /** The alternatives to a token are the characters after it. */
  #details(tokens: readonly Token[], logprobs: readonly number[], top: number | undefined): TokenDetail[] | undefined {
    if (top === undefined) return undefined;
    return tokens.map((token, offset) => {
      const logprob = logprobs[offset] as number;
      const alternatives = Array.from({ length: top }, (_, i) => ({
        ...describeToken(token + i),
        logprob: logprob - i,
      }));
      return { ...describeToken(token), offset, logprob, top: alternatives };
    });
  }

  async *#ready(context: string, signal: AbortSignal | undefined): AsyncGenerator<PrefillEvent | PromptEvent> {
    if (signal?.aborted) throw cancelled(signal);
    let before = 0;
    for (const fed of this.#script.prefill?.(context) ?? []) {
      await unlessCancelled(undefined, signal);
      this.worked += fed - before;
      before = fed;
      yield { type: "prefill", fed };
    }
    const { cached = () => 0 } = this.#script;
    const found = cached?.(context);
    this.worked += context.length - before - (found ?? 0);
    if (found !== undefined) yield { type: "prompt", cached: found };
  }

  #note(context: string, end: Token, text: string, finish: "stop" | "length", noted: boolean): Sample {
    const tokens = encode(text);
    if (!noted) return { text, finish, tokens, logprobs: [], endLogprobs: [] };
    const logprobs = this.#logprobs(context, [...tokens, end]);
    return { text, finish, tokens, logprobs: logprobs.slice(0, -1), endLogprobs: logprobs };
  }

  #ratios(context: string, against: string, closed: readonly Token[]): number[] {
    const below = this.#logprobs(against, closed);
    return this.#logprobs(context, closed).map((logprob, i) => logprob - (below[i] as number));
  }

  #logprobs(context: string, closed: readonly Token[]): number[] {
    const sum = this.#script.sum?.(context, decode(closed.slice(0, -1))) ?? -closed.length;
    return closed.map(() => sum / closed.length);
  }
}

/** As an engine does: a fired signal ends whatever it waits for. */
async function unlessCancelled<Result>(
  work: Result | Promise<Result>,
  signal: AbortSignal | undefined,
): Promise<Result> {
  if (signal === undefined) return work;
  let end = (): void => {};
  const fired = new Promise<never>((_, reject) => {
    end = () => reject(cancelled(signal));
  });
  if (signal.aborted) end();
  signal.addEventListener("abort", end);
  try {
    const result = await Promise.race([fired, work]);
    if (signal.aborted) throw cancelled(signal);
    return result;
  } finally {
    signal.removeEventListener("abort", end);
  }
}

/** A point that one side of a test waits at until the other opens it. */
export function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Resolves when everything that can happen without a gate, a timer or the outside has happened. */
export async function quiet(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** A code unit as a token. */
function describeToken(token: Token): TokenText {
  const text = String.fromCharCode(token);
  return { text, bytes: [...new TextEncoder().encode(text)] };
}

export function encode(text: string): Token[] {
  return Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
}

export function decode(tokens: readonly Token[]): string {
  return tokens.map((token) => String.fromCharCode(token)).join("");
}
