/** @module The gateway's app on one screen. Runs wherever `fetch` handlers run; what it needs of the world comes in. */
import { Hono, type MiddlewareHandler } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { authenticate, limitRate, onlyAdmins } from "./access/access.ts";
import { browserRules } from "./access/browsers.ts";
import { whereRoom } from "./gateway/admission.ts";
import type { AppDependencies } from "./gateway/dependencies.ts";
import { isFault, renderError } from "./gateway/errors.ts";
import { observe } from "./gateway/observation.ts";
import { hint, routedPath } from "./http/addresses.ts";
import { type Endpoint, endpoints } from "./http/api.ts";
import { bodyLimit } from "./http/body-limit.ts";
import { remembered } from "./http/endpoints/health.ts";
import { inAnthropicsWords } from "./http/messages/messages-errors.ts";
import { GatewayError } from "./types/error.ts";
import { web } from "./web/web.tsx";

/** The path names the route behind the second one. */
const bases = ["/v1", "/routes/:route/v1"];

export function createApp(given: AppDependencies): Hono {
  const app = new Hono({ getPath: routedPath });
  // Not a copy: some of what is given is made anew each time that it is asked for.
  const held = <Value>(ask: () => Promise<Value>) => ({ value: remembered(ask, given.now, given.isolated) });
  const dependencies: AppDependencies = Object.create(given, {
    engineState: held(given.engineState),
    ...(given.rewardStates && { rewardStates: held(given.rewardStates) }),
  });
  app.use(observe(dependencies));
  for (const base of bases) app.use(`${base}/messages/*`, inAnthropicsWords());
  for (const rule of browserRules(dependencies)) app.use(rule);
  const limitBody = bodyLimit(dependencies);
  for (const base of bases) app.use(`${base}/*`, authenticate(dependencies), limitRate(dependencies), limitBody);

  for (const endpoint of endpoints) {
    const handlers = [...guards(endpoint, dependencies), endpoint.handler(dependencies)];
    app.on(endpoint.method.toUpperCase(), pathsOf(endpoint), ...handlers);
  }
  app.route("/", web(dependencies));

  app.notFound((c) => {
    throw new GatewayError("not_found", `Unknown request URL: ${c.req.method} ${c.req.path}. ${hint(c.req.path)}`);
  });
  app.onError((error, c) => {
    if (isFault(error)) dependencies.report(error);
    const { status, headers, body } = renderError(error, c.get("isAdmin"));
    return c.json(body, status as ContentfulStatusCode, headers);
  });
  return app;
}

/** What a request must pass after the key, the limits and the body's size, which all under /v1 pass. */
function guards({ access, needsRoom }: Endpoint, dependencies: AppDependencies): MiddlewareHandler[] {
  if (access === "admins") return [authenticate(dependencies), onlyAdmins()];
  return needsRoom === true ? [whereRoom(dependencies)] : [];
}

function pathsOf({ path }: Endpoint): string[] {
  return path.startsWith("/v1/") ? bases.map((base) => path.replace("/v1", base)) : [path];
}
