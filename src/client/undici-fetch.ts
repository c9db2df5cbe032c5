/**
 * @module HTTP calls to engines. `fetch` itself would do: it takes four times the processor time for the same call,
 * which is then most of what a plain request costs, and it ends whatever is silent for five minutes, though engines
 * have time limits of their own.
 */
import { Agent, request } from "undici";
import type { Fetch } from "./fetch.ts";
import { isRedirect, redirected } from "./redirect.ts";

const userAgent = "icdpo-gateway";

export interface Connections {
  /**
   * Rejects where there is no connection, or the signal fires; throws "engine_failure" where a server sends its callers
   * on.
   */
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
      if (isRedirect(answer.statusCode)) {
        answer.body.on("error", () => {}).destroy();
        throw redirected(url, [answer.headers["location"]].flat()[0] ?? null);
      }
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
