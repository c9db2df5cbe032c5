/** @module A real HTTP server on a free port that answers what a test says. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface StubRequest {
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  /** Parsed JSON; undefined where there is none. */
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever JSON was sent
  readonly body: any;
}

export interface StubServer {
  readonly url: string;
  readonly requests: StubRequest[];
  /** Requests whose connection was closed before they were answered. */
  readonly abandoned: string[];
  /** Ends at once, connections included, as a killed process does. */
  kill(): void;
}

export type Handler = (request: StubRequest, response: ServerResponse) => void | Promise<void>;

export async function stubServer(handler: Handler): Promise<StubServer> {
  const requests: StubRequest[] = [];
  const abandoned: string[] = [];
  const server = createServer((incoming, response) => {
    response.once("close", () => {
      if (!response.writableFinished) abandoned.push(incoming.url ?? "");
    });
    read(incoming)
      .then((request) => {
        requests.push(request);
        return handler(request, response);
      })
      .catch(() => response.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const kill = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests, abandoned, kill };
}

async function read(incoming: IncomingMessage): Promise<StubRequest> {
  let text = "";
  for await (const piece of incoming.setEncoding("utf8")) text += piece;
  return { path: incoming.url ?? "", headers: incoming.headers, body: text === "" ? undefined : JSON.parse(text) };
}

export function sendJson(
  response: ServerResponse,
  body: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}

/** Server-sent events, "[DONE]" after them. */
export function sendEvents(response: ServerResponse, events: readonly unknown[]): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const event of events) response.write(`data: ${JSON.stringify(event)}\n\n`);
  response.end("data: [DONE]\n\n");
}
