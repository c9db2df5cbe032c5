/** @module The HTTP server: where it listens, how long it waits for slow clients, how it ends. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Writable } from "node:stream";
import { createAdaptorServer, type ServerType } from "@hono/node-server";
import { getConnInfo } from "@hono/node-server/conninfo";
import type { Context } from "hono";
import { GatewayError } from "../types/error.ts";
import { Doors } from "./doors.ts";
import type { Settings } from "./settings.ts";

export const loopbackNames: readonly string[] = ["localhost", "127.0.0.1", "[::1]"];

export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(?:\.\d{1,3}){3}$/u.test(host);
}

/** Behind a proxy that is trusted, the address that it adds to X-Forwarded-For, the last one; else the connection's. */
export function clientAddress(trustsProxy: boolean): (c: Context) => string | undefined {
  return (c) => {
    const forwarded = trustsProxy ? c.req.header("x-forwarded-for")?.split(",").at(-1)?.trim() : undefined;
    return forwarded || getConnInfo(c).remote.address;
  };
}

/**
 * Proxies commonly keep connections for 60 s: ours live longer, so that they never send into one that is being closed.
 */
const keepAliveMs = 75_000;
const headersMs = 15_000;
const maxHeaderBytes = 16_384;
const sweepMs = 100;
/** Beyond the longest request: a client that reads nothing for so long is gone. */
const slackMs = 60_000;

export interface HttpServer {
  /** `http://host:port` */
  readonly url: string;
  /** Listens no more; resolves when the last connection has ended. */
  close(): Promise<void>;
  /** Cuts what is left. */
  closeAll(): void;
}

type Fetch = Parameters<typeof createAdaptorServer>[0]["fetch"];

/** Throws "configuration" where the address cannot be had. */
export async function listen(
  fetch: Fetch,
  settings: Settings,
  doors = new Doors(settings, slackMs),
): Promise<HttpServer> {
  const { PORT: port, HOST: host, ICDPO_REQUEST_TIMEOUT_MS: requestTimeout, ICDPO_TIMEOUT_MS: longest } = settings;
  const headersTimeout = Math.min(headersMs, requestTimeout);
  const limits = {
    requestTimeout,
    headersTimeout,
    keepAliveTimeout: keepAliveMs,
    connectionsCheckingInterval: 1_000,
    maxHeaderSize: maxHeaderBytes,
  };
  const server = createAdaptorServer({ fetch, serverOptions: limits });
  doors.watch(server as Server);
  if ("timeout" in server) server.timeout = longest + slackMs;
  let answering = 0;
  server.on("request", (_: unknown, response: Writable) => {
    answering += 1;
    response.once("close", () => {
      answering -= 1;
    });
  });
  const closeAll = (): void => {
    if ("closeAllConnections" in server) server.closeAllConnections();
  };
  const { family, address, port: bound } = await bind(server, port, host);
  return {
    url: `http://${family === "IPv6" ? `[${address}]` : address}:${bound}`,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // Connections that are kept alive become idle one after another. Node takes those for busy that were opened in
      // advance and never used.
      const sweep = setInterval(() => {
        if (answering === 0) closeAll();
        else if ("closeIdleConnections" in server) server.closeIdleConnections();
      }, sweepMs);
      await closed;
      clearInterval(sweep);
    },
    closeAll,
  };
}

function bind(server: ServerType, port: number, host: string): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const reason =
        error.code === "EADDRINUSE" ? "another program listens there; set PORT to another one" : error.message;
      reject(new GatewayError("configuration", `Cannot listen on ${host}:${port}: ${reason}.`, { cause: error }));
    });
    server.listen(port, host, () => resolve(server.address() as AddressInfo));
  });
}
