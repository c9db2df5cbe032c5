/** @module The pages and their forms. Everything is rendered here; the playground's script only shows it sooner. */
import { Hono } from "hono";
import { csrf } from "hono/csrf";
import { HTTPException } from "hono/http-exception";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { limitRate, mayUse, onlyAdmins } from "../access/access.ts";
import { isOwn } from "../access/browsers.ts";
import type { AppDependencies } from "../gateway/dependencies.ts";
import { isFault, renderError } from "../gateway/errors.ts";
import { bodyLimit } from "../http/body-limit.ts";
import {
  describeExperiment,
  type ExperimentRoute,
  experimentRoutes,
  recordsState,
} from "../http/endpoints/experiments.ts";
import { GatewayError } from "../types/error.ts";
import { Experiment, ExperimentList } from "./experiments-page.tsx";
import { icon } from "./icon.ts";
import { Alert, page } from "./layout.tsx";
import { playLive } from "./live-playing.tsx";
import { playgroundScript, playgroundScriptPath } from "./playground-script.ts";
import { play, rate, renderPlayground } from "./playing.tsx";
import { Policies } from "./policies-page.tsx";
import { signedIn, signIn, signOut } from "./signing-in.tsx";
import { Status } from "./status-page.tsx";
import { styleSheet } from "./style.ts";
import { visibleRoutes } from "./visible-routes.ts";

/** Anybody may try a key. */
const mostSignInBytes = 10_000;
const livePath = "/play";
const pagePaths = ["/", livePath, "/rate", "/experiments", "/experiments/:route", "/policies", "/status"];

export function web(dependencies: AppDependencies): Hono {
  const app = new Hono();
  const { bodyRoom, clientAddress, policies, policyState, records, turn } = dependencies;
  app.get("/style.css", (c) =>
    c.body(styleSheet, 200, { "content-type": "text/css; charset=utf-8", "cache-control": "max-age=300" }),
  );
  app.get(playgroundScriptPath, (c) =>
    c.body(playgroundScript, 200, { "content-type": "text/javascript; charset=utf-8", "cache-control": "max-age=300" }),
  );
  app.get("/icon.svg", (c) => c.body(icon, 200, { "content-type": "image/svg+xml", "cache-control": "max-age=86400" }));
  for (const path of [...pagePaths, "/sign-in", "/sign-out"])
    app.use(path, csrf({ origin: (origin, c) => isOwn(origin, c.req.url) }));
  const limitBody = bodyLimit(dependencies);
  const limitSignIn = bodyLimit({ bodyRoom, clientAddress, maxBodyBytes: mostSignInBytes, turn });
  app.post("/sign-in", limitSignIn, signIn(dependencies));
  app.post("/sign-out", signOut(dependencies));
  for (const path of pagePaths) app.use(path, signedIn(dependencies));
  for (const path of ["/policies", "/status"]) app.use(path, onlyAdmins());
  const isSignedIn = dependencies.keys() !== null;
  app.get("/", (c) =>
    renderPlayground(c, dependencies, { conversation: [], compare: true, chosen: "", played: null, error: null }),
  );
  app.post("/", limitRate(dependencies), limitBody, play(dependencies));
  app.post(livePath, limitRate(dependencies), limitBody, playLive(dependencies));
  app.post("/rate", limitRate(dependencies), limitBody, rate(dependencies));
  experimentPages(app, dependencies);
  app.get("/policies", (c) => {
    const set = policies();
    return c.html(
      page(
        { title: "Policies", section: "/policies", isSignedIn },
        <Policies set={set} state={policyState()} routes={visibleRoutes(c, set)} />,
      ),
    );
  });
  app.get("/status", async (c) => {
    const { admission, version, recentRequests, engineState } = dependencies;
    const caller = c.get("caller");
    // A key sees its own requests.
    const requests = recentRequests().filter(({ key }) => caller === null || key === caller.name);
    const props = {
      version,
      engine: await engineState(),
      underWay: admission.admitted,
      records: records.state(),
      requests,
    };
    return c.html(page({ title: "Status", section: "/status", isSignedIn }, <Status {...props} />));
  });
  app.onError((thrown, c) => {
    // Hono's own refusal of a form that another site sent.
    const error =
      thrown instanceof HTTPException
        ? new GatewayError("forbidden_origin", "That form came from another site.")
        : thrown;
    if (isFault(error)) dependencies.report(error);
    const { status, headers, body } = renderError(error, c.get("isAdmin"));
    // The playground's script shows the message in its own place.
    if (c.req.path === livePath) return c.json(body, status as ContentfulStatusCode, headers);
    return c.html(
      page({ title: "That did not work", isSignedIn }, <Alert>{body.error.message}</Alert>),
      status as ContentfulStatusCode,
      headers,
    );
  });
  return app;
}

function experimentPages(app: Hono, dependencies: AppDependencies): void {
  const { policies, records, keys } = dependencies;
  const isSignedIn = keys() !== null;
  app.get("/experiments", limitRate(dependencies), (c) => {
    const experiments = visibleRoutes(c, policies()).flatMap((route) =>
      route.experiment === null ? [] : [describeExperiment(route as ExperimentRoute)],
    );
    return c.html(
      page({ title: "Experiments", section: "/experiments", isSignedIn }, <ExperimentList experiments={experiments} />),
    );
  });
  app.get("/experiments/:route", limitRate(dependencies), async (c) => {
    const route = experimentRoutes(policies()).find(
      ({ name }) => name === c.req.param("route") && mayUse(c.get("caller"), name),
    );
    if (route === undefined)
      throw new GatewayError("experiment_not_found", `There is no route "${c.req.param("route")}" with an experiment.`);
    const report = await records.report(describeExperiment(route), c.req.raw.signal);
    return c.html(
      page(
        { title: report.name, section: "/experiments", isSignedIn },
        <Experiment report={report} records={recordsState(c, dependencies)} />,
      ),
    );
  });
}
