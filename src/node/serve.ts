/** @module `icdpo serve`: the gateway over HTTP. */
import { randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import { createAdaptorServer, type ServerType } from "@hono/node-server";
import { createApp } from "../app.ts";
import { Admission } from "../http/admission.ts";
import { GatewayError } from "../types/error.ts";
import type { EngineState, LlamaEngine } from "./llama/engine.ts";
import type { EngineLoad } from "./llama/protocol.ts";
import type { Report, Runtime } from "./runtime.ts";
import type { Settings } from "./settings.ts";

const pingMs = 5_000;
const loadReportMs = 1_000;

export interface RunningServer {
  /** `http://host:port` */
  readonly url: string;
  /** Stops taking requests, lets those under way finish within `graceMs`, then ends. */
  close(graceMs: number): Promise<void>;
}

/** Throws "configuration" where the address cannot be had. */
export async function serve(runtime: Runtime, settings: Settings, version: string, report: Report): Promise<RunningServer> {
  const now = (): number => performance.now();
  const app = createApp({
    engine: runtime.engine,
    admission: new Admission({ limit: settings.ICDPO_MAX_REQUESTS, now }),
    engineState: () => engineState(runtime.engine),
    policies: () => runtime.policies,
    report: (error) => report(`error: ${error instanceof Error ? (error.stack ?? error.message) : error}`),
    newId: (prefix) => prefix + randomBytes(12).toString("hex"),
    randomSeed: () => randomBytes(4).readUInt32LE(),
    now,
    unixTime: () => Math.floor(Date.now() / 1000),
    deadline: () => AbortSignal.timeout(settings.ICDPO_TIMEOUT_MS),
    pingMs,
    maxAnswers: settings.ICDPO_MAX_N,
    maxBodyBytes: settings.ICDPO_MAX_BODY_BYTES,
    startedAt: Math.floor(Date.now() / 1000),
    version,
  });
  const server = createAdaptorServer({ fetch: app.fetch });
  const address = await listen(server, settings.PORT, settings.HOST);
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return { url: `http://${host}:${address.port}`, close: (graceMs) => close(server, graceMs) };
}

/** The engine's own account of its work. One that runs but does not answer is no longer ready. */
async function engineState(engine: LlamaEngine): Promise<Omit<EngineState, "status"> & { readonly status: string } & Partial<EngineLoad>> {
  if (engine.state.status !== "ready") return engine.state;
  try {
    return { ...engine.state, ...(await engine.load(AbortSignal.timeout(loadReportMs))) };
  } catch {
    return engine.state.status === "ready" ? { ...engine.state, status: "unresponsive" } : engine.state;
  }
}

function listen(server: ServerType, port: number, host: string): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const reason = error.code === "EADDRINUSE" ? "another program listens there; set PORT to another one" : error.message;
      reject(new GatewayError("configuration", `Cannot listen on ${host}:${port}: ${reason}.`, { cause: error }));
    });
    server.listen(port, host, () => resolve(server.address() as AddressInfo));
  });
}

async function close(server: ServerType, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  if ("closeIdleConnections" in server) server.closeIdleConnections();
  const timer = setTimeout(() => {
    if ("closeAllConnections" in server) server.closeAllConnections();
  }, graceMs);
  await closed;
  clearTimeout(timer);
}
