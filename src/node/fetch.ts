/**
 * @module HTTP calls to engines. `fetch` itself would do: it takes four times the processor time for the same call, which is then most of what
 * a plain request costs, and it ends whatever is silent for five minutes, though engines have time limits of their own.
 */
import { Agent, request } from "undici";
import type { Fetch } from "../engine/engines.ts";

const userAgent = "icdpo-gateway";

export interface Connections {
  /** Does not follow redirections. Rejects where there is no connection, or the signal fires. */
  readonly fetch: Fetch;
  /** Hangs up, whatever is under way: its calls reject. */
  close(): Promise<void>;
}

export function openConnections(): Connections {
  const dispatcher = new Agent({ headersTimeout: 0, bodyTimeout: 0 });
  return {
    async fetch(url, { method, headers, body, signal }) {
      const answer = await request(url, {
        dispatcher,
        method,
        headers: { "user-agent": userAgent, ...headers },
        body: body ?? null,
        signal,
      });
      return {
        ok: answer.statusCode >= 200 && answer.statusCode < 300,
        status: answer.statusCode,
        headers: { get: (name) => [answer.headers[name]].flat()[0] ?? null },
        body: answer.body,
      };
    },
    close: () => dispatcher.destroy(),
  };
}
