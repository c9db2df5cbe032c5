/** @module The gateway on Cloudflare Workers: the same app, with engines, embeddings and records over the network. */
import { waitUntil } from "cloudflare:workers";
import builtIn from "#bundle";
import { inTime, pause } from "../async/pause.ts";
import { renderError } from "../gateway/errors.ts";
import { spelledOut } from "../text/quoted.ts";
import { GatewayError, messageOf } from "../types/error.ts";
import { type Bindings, variablesOf } from "./bindings.ts";
import { type GatewayWorld, openGateway, type WorkerGateway } from "./gateway.ts";
import { expireRecords } from "./open-records.ts";
import { readWorkerSettings } from "./variables.ts";

export { KeyUsage } from "./key-usage.ts";

/** What began in a request ends with it, and whoever else waits for it would wait for ever. */
const openingMs = 60_000;

const farewellMs = 1_000;

function log(level: string, message: string, fields: object = {}): void {
  console.log(spelledOut(JSON.stringify({ level, time: new Date().toISOString(), ...fields, msg: message })));
}

const world: GatewayWorld = {
  builtIn,
  log,
  report: (line) => log("info", line),
  waitUntil,
};

let gateway: WorkerGateway | undefined;
let opening: { readonly gateway: Promise<WorkerGateway>; readonly since: number } | undefined;

/** Opened by the first request, for all that come to this isolate. Throws what `openGateway` throws. */
async function opened(bindings: Bindings): Promise<WorkerGateway> {
  if (gateway !== undefined) return gateway;
  if (opening === undefined || Date.now() - opening.since > openingMs) {
    const attempt = { gateway: openGateway(bindings, world), since: Date.now() };
    opening = attempt;
    const settled = attempt.gateway.then(
      (ready) => {
        gateway = ready;
      },
      () => {
        if (opening === attempt) opening = undefined;
      },
    );
    waitUntil(settled);
  }
  return inTime(opening.gateway, openingMs, () => {
    throw new GatewayError("engine_unavailable", "The gateway is not ready yet. Retry the request.");
  });
}

function failed(error: unknown): Response {
  log("error", "The gateway cannot be opened.", { error: messageOf(error) });
  // What is wrong with the configuration is the operator's to read.
  const { status, headers, body } = renderError(
    error instanceof GatewayError && error.code !== "configuration" ? error : undefined,
  );
  return Response.json(body, { status, headers });
}

export default {
  async fetch(request: Request, bindings: Bindings): Promise<Response> {
    let at: WorkerGateway;
    try {
      at = await opened(bindings);
    } catch (error) {
      return failed(error);
    }
    waitUntil(at.look());
    // What is under way for a client that leaves has a moment to end as it should.
    request.signal.addEventListener("abort", () => waitUntil(pause(farewellMs)));
    return at.app.fetch(request, bindings);
  },

  /** For a cron trigger: texts and records that are too old go. */
  async scheduled(_: unknown, bindings: Bindings): Promise<void> {
    await expireRecords(readWorkerSettings(variablesOf(bindings)), bindings);
  },
};
