/** @module The gateway's routes on one screen. Runs wherever `fetch` handlers run; what it needs of the world comes in. */
import { Hono } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { authenticate, limitRate, onlyAdmins } from "./access/access.ts";
import { browserRules } from "./access/browsers.ts";
import { whereRoom } from "./gateway/admission.ts";
import type { AppDependencies } from "./gateway/dependencies.ts";
import { isFault, renderError } from "./gateway/errors.ts";
import { metrics, observe } from "./gateway/observation.ts";
import { bodyLimit } from "./http/body-limit.ts";
import { chatCompletions } from "./http/chat/index.ts";
import { completions } from "./http/completions/index.ts";
import { embeddings } from "./http/endpoints/embeddings.ts";
import { getExperiment, listExperiments } from "./http/endpoints/experiments.ts";
import { feedback } from "./http/endpoints/feedback.ts";
import { score } from "./http/endpoints/given-completions.ts";
import { health, ready, remembered } from "./http/endpoints/health.ts";
import { getModel, listModels } from "./http/endpoints/models.ts";
import { countTokens, messages } from "./http/messages/index.ts";
import { inAnthropicsWords } from "./http/messages/messages-errors.ts";
import { openapi } from "./http/openapi.ts";
import { responses } from "./http/responses/index.ts";
import { GatewayError } from "./types/error.ts";
import { web } from "./web/web.tsx";

export function createApp(given: AppDependencies): Hono {
  const app = new Hono();
  // Not a copy: some of what is given is made anew each time that it is asked for.
  const engineState = { value: remembered(given.engineState, given.now, given.isolated) };
  const dependencies: AppDependencies = Object.create(given, { engineState });
  app.use(observe(dependencies));
  const bases = ["/v1", "/routes/:route/v1"];
  for (const base of bases) app.use(`${base}/messages/*`, inAnthropicsWords());
  for (const rule of browserRules(dependencies)) app.use(rule);
  const limitBody = bodyLimit(dependencies);
  const hasRoom = whereRoom(dependencies);

  for (const base of bases) {
    app.use(`${base}/*`, authenticate(dependencies), limitRate(dependencies), limitBody);
    app.post(`${base}/chat/completions`, hasRoom, chatCompletions(dependencies));
    app.post(`${base}/completions`, hasRoom, completions(dependencies));
    app.post(`${base}/responses`, hasRoom, responses(dependencies));
    app.post(`${base}/messages`, hasRoom, messages(dependencies));
    app.post(`${base}/messages/count_tokens`, hasRoom, countTokens(dependencies));
    app.post(`${base}/embeddings`, hasRoom, embeddings(dependencies));
    app.post(`${base}/score`, hasRoom, score(dependencies));
    app.post(`${base}/feedback`, feedback(dependencies));
    app.get(`${base}/experiments`, listExperiments(dependencies));
    app.get(`${base}/experiments/:id`, getExperiment(dependencies));
    app.get(`${base}/models`, listModels(dependencies));
    app.get(`${base}/models/:id`, getModel(dependencies));
  }
  app.get("/health", health(dependencies));
  app.get("/ready", ready(dependencies));
  app.get("/metrics", authenticate(dependencies), onlyAdmins(), metrics(dependencies));

  app.get("/openapi.json", openapi(dependencies));
  app.route("/", web(dependencies));

  app.notFound((c) => {
    throw new GatewayError("not_found", `Unknown request URL: ${c.req.method} ${c.req.path}. The API's base URL ends in /v1.`);
  });
  app.onError((error, c) => {
    if (isFault(error)) dependencies.report(error);
    const { status, headers, body } = renderError(error, c.get("isAdmin"));
    return c.json(body, status as ContentfulStatusCode, headers);
  });
  return app;
}
