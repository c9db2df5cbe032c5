/** @module A load client: so many requests, so many at once, on connections that are kept. */
import { setMaxListeners } from "node:events";
import { Agent, request } from "node:http";
import { inPool } from "icdpo-gateway/laboratory";

export interface Target {
  readonly name: string;
  /** Of the chat completions. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly model: string;
}

export interface Load {
  readonly count: number;
  readonly concurrency: number;
  readonly stream: boolean;
}

export interface Loaded {
  /** `[requests]`, in milliseconds, ascending: from the request to the last byte of its answer. */
  readonly latencies: readonly number[];
  readonly requestsPerSecond: number;
}

/** Throws where an answer is not 200, or breaks off. */
export async function load(
  { url, headers, model }: Target,
  { count, concurrency, stream }: Load,
  signal: AbortSignal,
): Promise<Loaded> {
  setMaxListeners(0, signal); // each request under way is one
  const agent = new Agent({ keepAlive: true, maxSockets: concurrency });
  const body = JSON.stringify({
    model,
    messages: [{ role: "user", content: "Say something about a fox." }],
    max_tokens: 64,
    stream,
  });
  const options = {
    method: "POST",
    agent,
    headers: { ...headers, "content-type": "application/json", "content-length": Buffer.byteLength(body) },
  };
  const requests = Array.from({ length: count }, () => body);
  const start = performance.now();
  try {
    const latencies = await inPool(requests, { concurrency, signal }, (one, stopped) =>
      timed(url, { ...options, signal: stopped }, one),
    );
    const seconds = (performance.now() - start) / 1000;
    return { latencies: latencies.sort((a, b) => a - b), requestsPerSecond: count / seconds };
  } finally {
    agent.destroy();
  }
}

function timed(url: string, options: object, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const sent = request(url, options, (response) => {
      if (response.statusCode !== 200) reject(new Error(`${url} answered ${response.statusCode}`));
      response.on("error", reject).on("end", () => resolve(performance.now() - start));
      response.resume();
    });
    sent.on("error", reject).end(body);
  });
}
