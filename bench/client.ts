/** @module A chat client that times the gateway. */
import { GatewayError } from "icdpo-gateway/laboratory";

export interface ChatRequestBody {
  readonly model: string;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly max_tokens: number;
  readonly seed: number;
}

export interface TimedAnswer {
  readonly seconds: number;
  readonly content: string;
  /** As in `x-icdpo-tokens`. */
  readonly tokens: {
    readonly prompt: number;
    readonly sampled: number;
    readonly scored: number;
    readonly cached: number;
  };
  /** `[candidates]`: sampling steps of each. */
  readonly lengths: readonly number[];
  /** Of the chosen candidate, in nats; null where nothing was scored. */
  readonly score: number | null;
}

interface ExplainedCandidate {
  readonly tokens: number;
  readonly score: number | null;
  readonly chosen: boolean;
}

interface Explained {
  readonly choices: readonly [{ readonly message: { readonly content: string } }];
  readonly icdpo: { readonly tokens: TimedAnswer["tokens"]; readonly candidates: readonly ExplainedCandidate[] };
}

export class Client {
  readonly #url: string;
  readonly #signal: AbortSignal;

  /** `url`: of the gateway, without /v1. */
  constructor(url: string, signal: AbortSignal) {
    this.#url = url;
    this.#signal = signal;
  }

  async chat(body: ChatRequestBody): Promise<TimedAnswer> {
    const start = performance.now();
    const response = await this.#post({ ...body, icdpo: { explain: true } });
    const { choices, icdpo } = (await response.json()) as Explained;
    const seconds = (performance.now() - start) / 1000;
    const { tokens, candidates } = icdpo;
    const score = candidates.find(({ chosen }) => chosen)?.score ?? null;
    return {
      seconds,
      content: choices[0].message.content,
      tokens,
      lengths: candidates.map((candidate) => candidate.tokens),
      score,
    };
  }

  /** Seconds until the first chunk that holds text; the rest is not awaited. */
  async firstToken(body: ChatRequestBody): Promise<number> {
    const start = performance.now();
    const response = await this.#post({ ...body, stream: true });
    const decoder = new TextDecoder();
    let received = "";
    for await (const bytes of response.body as ReadableStream<Uint8Array>) {
      received += decoder.decode(bytes, { stream: true });
      if (/"content":"[^"]/u.test(received)) return (performance.now() - start) / 1000;
    }
    throw new GatewayError("engine_failure", `A stream ended without text: ${received}`);
  }

  async #post(body: unknown): Promise<Response> {
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${this.#url}/v1/chat/completions`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
      signal: this.#signal,
      redirect: "manual",
    });
    if (!response.ok)
      throw new GatewayError("engine_failure", `The gateway answered ${response.status}: ${await response.text()}`);
    return response;
  }
}
