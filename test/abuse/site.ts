/**
 * @module The app around a scripted engine, served as the program serves it, with one key; what it charges and records
 * is kept.
 */
import { setMaxListeners } from "node:events";
import { hashKey } from "../../src/access/access.ts";
import { uncounted } from "../../src/access/key-limits.ts";
import { Admission } from "../../src/gateway/admission.ts";
import type { AppDependencies } from "../../src/gateway/dependencies.ts";
import type { RequestRecord } from "../../src/gateway/observation.ts";
import { listen } from "../../src/node/http-server.ts";
import { readSettings } from "../../src/node/settings.ts";
import { turns } from "../../src/node/turns.ts";
import { createTelemetry } from "../../src/telemetry/telemetry.ts";
import type { Script } from "../unit/scripted-engine.ts";
import { gateway } from "../unit/scripted-gateway.ts";

export const secret = "a-key-that-is-known";

/**
 * `environment`: settings of the server. `charged`: tokens that the key has paid; `engine.worked` is what it should
 * have.
 */
export async function servedSite(
  script: Script = {},
  dependencies: Partial<AppDependencies> = {},
  environment: NodeJS.ProcessEnv = {},
) {
  const settings = readSettings({ PORT: "0", ...environment }, process.cwd());
  const records: RequestRecord[] = [];
  const telemetry = createTelemetry({
    recorders: [{ record: (record) => records.push(record) }],
    metrics: async () => ({ contentType: "text/plain", body: "" }),
    now: Date.now,
    onFailure: (error) => {
      throw error;
    },
  });
  let charged = 0;
  const limiter = {
    admit: async () => ({}),
    reserve: async () =>
      uncounted(async (tokens) => {
        charged += tokens;
      }),
  };
  const admission = new Admission({ limit: settings.ICDPO_MAX_REQUESTS, now: () => performance.now() });
  const known = [{ name: "one", hash: await hashKey(secret), routes: null, limits: {} }];
  const keys = () => known;
  // Every request under way listens to it.
  const shutdown = new AbortController().signal;
  setMaxListeners(0, shutdown);
  const site = await gateway(script, {
    shutdown,
    telemetry,
    limiter,
    admission,
    keys,
    maxBodyBytes: settings.ICDPO_MAX_BODY_BYTES,
    turn: turns(),
    ...dependencies,
  });
  const server = await listen(site.app.fetch, settings);
  return {
    ...site,
    url: server.url,
    records,
    charged: () => charged,
    /** Requests under way. */
    underWay: () => admission.admitted,
    async close() {
      const closed = server.close();
      server.closeAll();
      await closed;
    },
  };
}
