/** @module The pages and their forms. Everything is rendered here; nothing runs in the browser. */
import { type Context, Hono, type MiddlewareHandler } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import { csrf } from "hono/csrf";
import { HTTPException } from "hono/http-exception";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { z } from "zod";
import { admit, type Caller, identify, limitRate, mayUse, onlyAdmins } from "../http/access.ts";
import { bodyLimit } from "../http/body-limit.ts";
import { generationDemand } from "../http/demand.ts";
import type { AppDependencies } from "../http/dependencies.ts";
import { isFault, renderError } from "../http/errors.ts";
import { describeExperiment, type ExperimentRoute, experimentRoutes, recordsState } from "../http/experiments.ts";
import { keepFeedback } from "../http/feedback.ts";
import { generate } from "../http/generate.ts";
import type { Answer, Generation } from "../http/generation.ts";
import type { ResolvedRoute } from "../http/route.ts";
import { tenantOf } from "../http/tenant.ts";
import { askerOf, withRequest } from "../http/work.ts";
import { icdpo } from "../icdpo/pipeline.ts";
import { plainly } from "../policy/bypass.ts";
import type { Policy, PolicySet, Route } from "../policy/policy.ts";
import type { Conversation } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import { Experiment, ExperimentList } from "./experiments.tsx";
import { icon } from "./icon.ts";
import { Alert, page } from "./layout.tsx";
import { type Choice, type Played, Playground } from "./playground.tsx";
import { Policies } from "./policies.tsx";
import { SignIn } from "./sign-in.tsx";
import { Status } from "./status.tsx";
import { styleSheet } from "./style.ts";

const keyCookie = "icdpo_key";
/** Anybody may try a key. */
const mostSignInBytes = 10_000;
const pagePaths = ["/", "/rate", "/experiments", "/experiments/:route", "/policies", "/status"];

export function web(dependencies: AppDependencies): Hono {
  const app = new Hono();
  const { bodyRoom, clientAddress, policies, policyState, records } = dependencies;
  app.get("/style.css", (c) => c.body(styleSheet, 200, { "content-type": "text/css; charset=utf-8", "cache-control": "max-age=300" }));
  app.get("/icon.svg", (c) => c.body(icon, 200, { "content-type": "image/svg+xml", "cache-control": "max-age=86400" }));
  for (const path of [...pagePaths, "/sign-in", "/sign-out"]) app.use(path, csrf());
  const limitBody = bodyLimit(dependencies);
  app.post("/sign-in", bodyLimit({ bodyRoom, clientAddress, maxBodyBytes: mostSignInBytes }), signIn(dependencies));
  app.post("/sign-out", (c) => {
    deleteCookie(c, keyCookie);
    return c.redirect("/", 303);
  });
  for (const path of pagePaths) app.use(path, signedIn(dependencies));
  for (const path of ["/policies", "/status"]) app.use(path, onlyAdmins());
  const isSignedIn = dependencies.keys() !== null;
  app.get("/", (c) => renderPlayground(c, dependencies, { conversation: [], compare: true, chosen: "", played: null, error: null }));
  app.post("/", limitRate(dependencies), limitBody, play(dependencies));
  app.post("/rate", limitRate(dependencies), limitBody, rate(dependencies));
  app.get("/experiments", limitRate(dependencies), (c) => {
    const experiments = visible(c, policies()).flatMap((route) =>
      route.experiment === null ? [] : [describeExperiment(route as ExperimentRoute)],
    );
    return c.html(page({ title: "Experiments", section: "/experiments", isSignedIn }, <ExperimentList experiments={experiments} />));
  });
  app.get("/experiments/:route", limitRate(dependencies), async (c) => {
    const route = experimentRoutes(policies()).find(({ name }) => name === c.req.param("route") && mayUse(c.get("caller"), name));
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
  app.get("/policies", (c) => {
    const set = policies();
    return c.html(
      page({ title: "Policies", section: "/policies", isSignedIn }, <Policies set={set} state={policyState()} routes={visible(c, set)} />),
    );
  });
  app.get("/status", async (c) => {
    const { admission, version, recentRequests, engineState } = dependencies;
    const caller = c.get("caller");
    // A key sees its own requests.
    const requests = recentRequests().filter(({ key }) => caller === null || key === caller.name);
    const props = { version, engine: await engineState(), underWay: admission.admitted, records: records.state(), requests };
    return c.html(page({ title: "Status", section: "/status", isSignedIn }, <Status {...props} />));
  });
  app.onError((thrown, c) => {
    // Hono's own refusal of a form that another site sent.
    const error = thrown instanceof HTTPException ? new GatewayError("forbidden_origin", "That form came from another site.") : thrown;
    if (isFault(error)) dependencies.report(error);
    const { status, headers, body } = renderError(error, c.get("isAdmin"));
    return c.html(
      page({ title: "That did not work", isSignedIn }, <Alert>{body.error.message}</Alert>),
      status as ContentfulStatusCode,
      headers,
    );
  });
  return app;
}

/** Where there are keys, pages are for those who have brought one. */
function signedIn(dependencies: AppDependencies): MiddlewareHandler {
  return async (c, next) => {
    const given = getCookie(c, keyCookie);
    const { keys, unixTime } = dependencies;
    const caller = await identify(keys(), given === undefined ? undefined : `Bearer ${given}`, unixTime()).catch((error: unknown) => {
      if (error instanceof GatewayError && error.code === "invalid_api_key") return undefined;
      throw error;
    });
    if (caller === undefined) return c.html(page({ title: "Sign in" }, <SignIn error={null} />), 401);
    admit(c, caller, dependencies);
    await next();
    return;
  };
}

function signIn({ keys, unixTime }: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const { key } = await readForm(c, z.object({ key: z.string().max(500) }));
    const isKnown = await identify(keys(), `Bearer ${key.trim()}`, unixTime()).then(
      () => true,
      () => false,
    );
    if (!isKnown) return c.html(page({ title: "Sign in" }, <SignIn error="That key is not known here." />), 401);
    // A proxy in front may be who speaks TLS.
    const isSecure = new URL(c.req.url).protocol === "https:" || c.req.header("x-forwarded-proto") === "https";
    setCookie(c, keyCookie, key.trim(), { httpOnly: true, sameSite: "Strict", path: "/", secure: isSecure });
    return c.redirect("/", 303);
  };
}

const playSchema = z.object({
  message: z.string().trim().min(1, "Say something first.").max(20_000),
  route: z.string(),
  compare: z.literal("on").optional(),
  history: z.string().max(500_000),
});

const historySchema = z.array(z.object({ role: z.enum(["user", "assistant", "system"]), content: z.string() })).max(200);

function play(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const { message, route: chosen, compare, history } = await readForm(c, playSchema);
    const turns: Conversation = [...parseHistory(history), { role: "user", content: message }];
    const asked = { conversation: turns, compare: compare === "on", chosen };
    try {
      const played = await answer(c, dependencies, resolve(c, dependencies.policies(), chosen), turns, asked.compare);
      const conversation: Conversation = [...turns, { role: "assistant", content: played.answer.content ?? "" }];
      return renderPlayground(c, dependencies, { ...asked, conversation, played, error: null });
    } catch (error) {
      if (isFault(error)) dependencies.report(error);
      const { status, body } = renderError(error, c.get("isAdmin"));
      // The message stays in the conversation's place, so that it can be sent again.
      return renderPlayground(
        c,
        dependencies,
        { ...asked, conversation: turns.slice(0, -1), played: null, error: body.error.message },
        status,
      );
    }
  };
}

function parseHistory(text: string): Conversation {
  try {
    return historySchema.parse(JSON.parse(text));
  } catch (error) {
    throw new GatewayError("invalid_request", "The conversation's history is damaged. Begin a new one.", { cause: error });
  }
}

/** Answers as any client's request would be, but takes part in no experiment: who plays has chosen the arm. */
async function answer(
  c: Context,
  dependencies: AppDependencies,
  resolved: ResolvedRoute,
  conversation: Conversation,
  compare: boolean,
): Promise<Played> {
  c.get("observer").note({ route: resolved.route, policy: resolved.policy.id });
  const id = dependencies.newId("play-");
  const started = dependencies.now();
  const generated = await generate(c, dependencies, resolved, plainGeneration(conversation), id);
  const ms = dependencies.now() - started;
  const isScored = resolved.policy.settings.score.type !== "none";
  const plain = compare && isScored ? await playPlainly(c, dependencies, resolved.policy, conversation) : null;
  return {
    id,
    policy: resolved.policy.id,
    answer: generated.answers[0] as Answer,
    outcome: generated.outcome,
    plain,
    ms,
  };
}

/** What plain sampling answers. */
async function playPlainly(c: Context, dependencies: AppDependencies, policy: Policy, conversation: Conversation): Promise<string> {
  const { temperature, top_p: topP, top_k: topK, max_tokens: maxTokens } = policy.settings.sampling;
  const sampling = { temperature, topP, topK, maxTokens, stop: [] };
  const { randomSeed, now } = dependencies;
  const request = { conversation, sampling, answers: 1, seed: randomSeed(), tenant: tenantOf(c, dependencies), now };
  const demand = generationDemand(plainly(policy), request);
  const { ranked } = await withRequest(askerOf(c), dependencies, demand, ({ signal, attempt, enter: onStage }) =>
    attempt((work) => icdpo(plainly(policy), { ...request, signal, onStage, work })),
  );
  return ranked[0]?.text ?? "";
}

function plainGeneration(conversation: Conversation): Generation {
  return {
    conversation,
    user: undefined,
    overrides: undefined,
    sampling: {},
    answers: 1,
    tools: [],
    toolChoice: "auto",
    parallelToolCalls: false,
    format: { type: "text" },
    topLogprobs: null,
  };
}

function rate(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const { id, rating } = await readForm(c, z.object({ id: z.string().max(128), rating: z.enum(["up", "down"]) }));
    const at = dependencies.unixTime() * 1000;
    const row = { answer: id, metric: "rating", value: Number(rating === "up"), comment: null, at };
    await keepFeedback(dependencies, row, c.get("caller")?.name ?? null);
    return c.html(
      page(
        { title: "Thank you", section: "/", isSignedIn: dependencies.keys() !== null },
        <p>
          Your rating is kept. <a href="/">Ask something else</a>
        </p>,
      ),
    );
  };
}

interface PlaygroundState {
  readonly conversation: Conversation;
  readonly compare: boolean;
  readonly chosen: string;
  readonly played: Played | null;
  readonly error: string | null;
}

function renderPlayground(c: Context, dependencies: AppDependencies, state: PlaygroundState, status = 200): Response | Promise<Response> {
  const choices = visible(c, dependencies.policies()).flatMap(choicesOf);
  const canRate = dependencies.records.state().status === "ok";
  const content = <Playground {...state} choices={choices} canRate={canRate} />;
  return c.html(
    page({ title: "Playground", section: "/", isSignedIn: dependencies.keys() !== null }, content),
    status as ContentfulStatusCode,
  );
}

function visible(c: Context, { routes }: PolicySet): Route[] {
  return [...routes.values()].filter(({ name }) => mayUse(c.get("caller") as Caller, name));
}

function choicesOf({ name, policy, experiment }: Route): Choice[] {
  if (experiment === null) return [{ value: name, label: `${name} (${policy.id})` }];
  return experiment.arms.map((arm) => ({ value: `${name}/${arm.name}`, label: `${name}, arm ${arm.name} (${arm.policy.id})` }));
}

function resolve(c: Context, set: PolicySet, chosen: string): ResolvedRoute {
  const [name = "", armName] = chosen.split("/");
  const route = visible(c, set).find((one) => one.name === name);
  const arm = route?.experiment?.arms.find((one) => one.name === armName) ?? null;
  if (route === undefined || (route.experiment !== null && arm === null))
    throw new GatewayError("model_not_found", `There is no route "${chosen}" any more. Choose another.`);
  return {
    route: name,
    policy: arm?.policy ?? route.policy,
    arm: arm?.name ?? null,
    isUsers: false,
    bringsOpening: false,
    counterfactual: 0,
  };
}

async function readForm<Schema extends z.ZodType>(c: Context, schema: Schema): Promise<z.output<Schema>> {
  const parsed = schema.safeParse(await c.req.parseBody());
  if (parsed.success) return parsed.data;
  throw new GatewayError("invalid_request", parsed.error.issues[0]?.message ?? "The form is incomplete.");
}
