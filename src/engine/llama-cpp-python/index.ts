/**
 * @module llama-cpp-python's server as an engine, for the paper's text formats: it renders no chat template without answering. Completions are scored
 * by having the server echo them, which needs `--logits_all true`, and a model whose tokenizer puts BOS first: without one, the server (0.3.36) pairs
 * each token with the log-probabilities of the next.
 */
import type { z } from "zod";
import { EventQueue } from "../../async/event-queue.ts";
import { describedAnswer, sampledAnswer } from "../../client/answer-size.ts";
import { cancelled, GatewayError } from "../../types/error.ts";
import type {
  EngineInfo,
  EngineState,
  Prompt,
  RunningEngine,
  SampleEvent,
  SampleRequest,
  ScoreEvent,
  Token,
  TokenText,
} from "../engine.ts";
import type { RemoteSettings, RemoteWorld } from "../engines.ts";
import { chunk, echoed, path, readServed, type Served } from "./llama-cpp-python-model.ts";
import { Server } from "./one-call-server.ts";

/** What control tokens are spelled like. */
const marker = /<(?=[^<>\s]{1,64}>)|\[(?=[^[\]\s]{1,64}\])/gu;

/** A prompt and its text: the server takes no token ids. */
interface TextPrompt extends Prompt {
  readonly text: string;
}

export function openLlamaCppPython(settings: RemoteSettings, world: RemoteWorld): RunningEngine {
  return new LlamaCppPython(settings, world);
}

class LlamaCppPython implements RunningEngine {
  readonly #settings: RemoteSettings;
  readonly #world: RemoteWorld;
  readonly #server: Server;
  #served: Served | undefined;

  constructor(settings: RemoteSettings, world: RemoteWorld) {
    this.#settings = settings;
    this.#world = world;
    this.#server = new Server(settings, world);
  }

  async info(signal?: AbortSignal): Promise<EngineInfo> {
    return (await this.#open(signal)).info;
  }

  async tokenize(texts: readonly string[], signal?: AbortSignal): Promise<Token[][]> {
    const { opening } = await this.#open(signal);
    const tokenized: Token[][] = [];
    for (const text of texts) {
      // The server recognises control tokens everywhere; in parts, their spellings are plain text.
      const parts = (await this.#holdsControl(text, signal)) ? text.split(/(?<=[<[])/u) : [text];
      const tokens: Token[] = [];
      for (const part of parts) tokens.push(...(await this.#server.tokenize(part, signal)).slice(opening.length));
      tokenized.push(tokens);
    }
    return tokenized;
  }

  async describe(): Promise<TokenText[]> {
    throw new GatewayError("unsupported_parameter", "llama-cpp-python's server does not tell what single tokens are.");
  }

  async detokenize(tokens: readonly Token[], signal?: AbortSignal): Promise<string> {
    return this.#server.detokenize(tokens, signal);
  }

  /** A control token's spelling in the text is broken up by a space, or refused. */
  async textPrompt(text: string, signal?: AbortSignal): Promise<TextPrompt> {
    const { end } = await this.#open(signal);
    const guarded = (await this.#holdsControl(text, signal)) ? text.replace(marker, "$& ") : text;
    if (guarded !== text && (await this.#holdsControl(guarded, signal)))
      throw new GatewayError(
        "invalid_request",
        "The text holds the spelling of a control token, which llama-cpp-python's server would take for one.",
      );
    return { tokens: await this.#server.tokenize(guarded, signal), end, text: guarded };
  }

  async chatPrompt(): Promise<Prompt> {
    throw new GatewayError(
      "invalid_request",
      "llama-cpp-python's server renders no chat template: use the prompt format hh-rlhf or synthetic-gpt.",
      {
        param: "prompt",
      },
    );
  }

  async *sample(prompt: Prompt, request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
    const body = await this.#body(prompt, request, signal);
    await this.#checkLength(prompt, signal);
    yield { type: "prefill", fed: 0 };
    let hasBegun = false;
    for (const [index, seed] of request.seeds.entries()) {
      let text = "";
      let finish: string | null = null;
      for await (const { choices } of this.#stream({ ...body, seed }, request.maxTokens, prompt.tenant, signal)) {
        if (!hasBegun) yield { type: "prompt", cached: 0 };
        hasBegun = true;
        const [choice] = choices;
        finish = choice?.finish_reason ?? finish;
        text += choice?.text ?? "";
        // About one a piece; how many there were is known at the end.
        if (choice?.text) yield { type: "text", index, text: choice.text, tokens: 1 };
      }
      if (finish === null)
        throw new GatewayError(
          "engine_unavailable",
          "llama-cpp-python's server broke off for another client's call. Start it with --interrupt_requests false.",
        );
      const [tokens = []] = await this.tokenize([text], signal);
      yield {
        type: "done",
        index,
        sample: { text, finish: finish === "length" ? "length" : "stop", tokens, logprobs: [], endLogprobs: [] },
      };
    }
  }

  async *score(
    prompt: Prompt,
    completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
    signal?: AbortSignal,
    topLogprobs?: number,
  ): AsyncGenerator<ScoreEvent> {
    const { info, ending, end } = await this.#open(signal);
    if (!info.capabilities.score) throw new GatewayError("unsupported_parameter", "This route's llama-cpp-python server cannot score.");
    if (topLogprobs !== undefined) throw noDetails();
    const context = await this.#textOf(prompt, signal);
    await this.#checkLength(prompt, signal);
    yield { type: "prefill", fed: 0 };
    let index = 0;
    for await (const completion of completions) {
      const isClosed = completion.at(-1) === end;
      const text = context + (await this.#server.detokenize(completion, signal)) + (isClosed ? ending : "");
      const all = await this.#server.tokenize(text, signal);
      if (all.join() !== [...prompt.tokens, ...completion].join())
        throw new GatewayError(
          "engine_failure",
          "llama-cpp-python's server makes other tokens of a prompt and its completion together than of each: it cannot be scored.",
        );
      // 0 would be as many as fit.
      const body = { prompt: text, max_tokens: 1, echo: true, logprobs: 1, temperature: 0 };
      const size = describedAnswer([all.length + 1]);
      const { choices } = await this.#server.promptJson({ path, body, answer: echoed, size, signal }, prompt.tenant);
      if (index === 0) yield { type: "prompt", cached: 0 };
      // BOS is not among them.
      const first = prompt.tokens.length - 1;
      const logprobs = choices[0].logprobs.token_logprobs.slice(first, first + completion.length);
      yield { type: "scored", index, logprobs: logprobs.map((logprob) => logprob ?? Number.NaN) };
      index += 1;
    }
  }

  state(): Promise<EngineState> {
    return this.#server.state();
  }

  async close(): Promise<void> {}

  /** Read on as it comes, whatever its reader does meanwhile: the next call waits for its end. */
  async *#stream(
    body: object,
    most: number,
    tenant: string | undefined,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<z.output<typeof chunk>> {
    const left = new AbortController();
    const queue = new EventQueue<z.output<typeof chunk>>();
    const either = signal === undefined ? left.signal : AbortSignal.any([signal, left.signal]);
    const call = { path, body: { ...body, stream: true }, answer: chunk, size: sampledAnswer(most, 0), signal: either };
    this.#server
      .events(call, tenant, (event) => queue.push(event))
      .then(
        () => queue.end(),
        (error: unknown) => queue.fail(signal?.aborted ? cancelled(signal) : error),
      );
    try {
      yield* queue;
    } finally {
      left.abort();
    }
  }

  async #body(prompt: Prompt, request: SampleRequest, signal: AbortSignal | undefined): Promise<object> {
    const { presencePenalty = 0, frequencyPenalty = 0, topLogprobs, logitBias, grammar } = request;
    if (topLogprobs !== undefined) throw noDetails();
    for (const [param, penalty] of Object.entries({ presence_penalty: presencePenalty, frequency_penalty: frequencyPenalty }))
      if (penalty !== 0)
        throw new GatewayError("unsupported_parameter", "llama-cpp-python's server counts the last 64 tokens only.", { param });
    return {
      prompt: await this.#textOf(prompt, signal),
      max_tokens: Math.max(1, request.maxTokens),
      temperature: request.temperature,
      top_p: request.topP,
      top_k: request.topK,
      min_p: 0,
      repeat_penalty: 1,
      stop: request.stop,
      ...(logitBias && logitBias.size > 0 && { logit_bias: Object.fromEntries(logitBias) }),
      ...(grammar !== undefined && { grammar }),
    };
  }

  async #textOf(prompt: Prompt, signal: AbortSignal | undefined): Promise<string> {
    if ("text" in prompt) return (prompt as TextPrompt).text;
    const text = await this.#server.detokenize(prompt.tokens, signal);
    if ((await this.#server.tokenize(text, signal)).join() === prompt.tokens.join()) return text;
    throw new GatewayError("unsupported_parameter", "llama-cpp-python's server takes no token ids, and makes other tokens of their text.");
  }

  /** In a stream, the server breaks off without a word. */
  async #checkLength({ tokens }: Prompt, signal: AbortSignal | undefined): Promise<void> {
    const { contextSize } = (await this.#open(signal)).info;
    if (tokens.length >= contextSize)
      throw new GatewayError(
        "context_length_exceeded",
        `The model's context holds ${contextSize} tokens, but the prompt takes ${tokens.length}.`,
      );
  }

  async #holdsControl(text: string, signal: AbortSignal | undefined): Promise<boolean> {
    if (!/[<[]/u.test(text)) return false;
    return (await this.#server.detokenize(await this.#server.tokenize(text, signal), signal)).trimStart() !== text.trimStart();
  }

  async #open(signal: AbortSignal | undefined): Promise<Served> {
    this.#served ??= await readServed(this.#server, this.#settings, this.#world, signal);
    return this.#served;
  }
}

function noDetails(): GatewayError {
  return new GatewayError(
    "unsupported_parameter",
    "llama-cpp-python's server tells no log-probabilities that can be matched with tokens.",
    { param: "logprobs" },
  );
}
