/** @module The pages and their forms. Everything is rendered here; nothing runs in the browser. */
import { type Context, Hono, type MiddlewareHandler } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import { csrf } from "hono/csrf";
import { HTTPException } from "hono/http-exception";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { z } from "zod";
import { admit, type Caller, identify, limitRate, mayUse, onlyAdmins } from "../access/access.ts";
import { isOwn } from "../access/browsers.ts";
import { generationDemand } from "../gateway/demand.ts";
import type { AppDependencies } from "../gateway/dependencies.ts";
import { isFault, renderError } from "../gateway/errors.ts";
import { generate } from "../gateway/generate.ts";
import type { Answer, Generation } from "../gateway/generation.ts";
import type { ResolvedRoute } from "../gateway/route.ts";
import { tenantOf } from "../gateway/tenant.ts";
import { askerOf, withRequest } from "../gateway/work.ts";
import { bodyLimit } from "../http/body-limit.ts";
import { describeExperiment, type ExperimentRoute, experimentRoutes, recordsState } from "../http/endpoints/experiments.ts";
import { keepFeedback } from "../http/endpoints/feedback.ts";
import { icdpo } from "../icdpo/pipeline.ts";
import { plainly } from "../policy/bypass.ts";
import type { Policy, PolicySet, Route } from "../policy/policy.ts";
import type { Conversation } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import { Experiment, ExperimentList } from "./experiments-page.tsx";
import { icon } from "./icon.ts";
import { Alert, page } from "./layout.tsx";
import { type Choice, type Played, Playground } from "./playground-page.tsx";
import { Policies } from "./policies-page.tsx";
import { SignIn } from "./sign-in-page.tsx";
import { Status } from "./status-page.tsx";
import { styleSheet } from "./style.ts";

const cookie = "icdpo_session";
/** Anybody may try a key. */
const mostSignInBytes = 10_000;
const pagePaths = ["/", "/rate", "/experiments", "/experiments/:route", "/policies", "/status"];

export function web(dependencies: AppDependencies): Hono {
  const app = new Hono();
  const { bodyRoom, clientAddress, policies, policyState, records, turn } = dependencies;
  app.get("/style.css", (c) => c.body(styleSheet, 200, { "content-type": "text/css; charset=utf-8", "cache-control": "max-age=300" }));
  app.get("/icon.svg", (c) => c.body(icon, 200, { "content-type": "image/svg+xml", "cache-control": "max-age=86400" }));
  for (const path of [...pagePaths, "/sign-in", "/sign-out"]) app.use(path, csrf({ origin: (origin, c) => isOwn(origin, c.req.url) }));
  const limitBody = bodyLimit(dependencies);
  const limitSignIn = bodyLimit({ bodyRoom, clientAddress, maxBodyBytes: mostSignInBytes, turn });
  app.post("/sign-in", limitSignIn, signIn(dependencies));
  app.post("/sign-out", signOut(dependencies));
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

/** Where there are keys, pages are for those who have brought one. What they show is theirs, and kept nowhere. */
function signedIn(dependencies: AppDependencies): MiddlewareHandler {
  return async (c, next) => {
    c.header("cache-control", "no-store");
    const keys = dependencies.keys();
    const session = keys === null ? undefined : sessionOf(c);
    const caller = session === undefined ? undefined : await dependencies.sessions.find(session, keys ?? []);
    if (keys !== null && caller === undefined) return c.html(page({ title: "Sign in" }, <SignIn error={null} />), 401);
    admit(c, caller ?? null, dependencies);
    await next();
    return;
  };
}

function signIn({ keys, sessions, unixTime }: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const { key: given } = await readForm(c, z.object({ key: z.string().max(500) }));
    const caller = await identify(keys(), `Bearer ${given.trim()}`, unixTime()).catch((error: unknown) => {
      if (error instanceof GatewayError && error.code === "invalid_api_key") return null;
      throw error;
    });
    const key = keys()?.find(({ name }) => name === caller?.name);
    if (key === undefined) return c.html(page({ title: "Sign in" }, <SignIn error="That key is not known here." />), 401);
    const attributes = { httpOnly: true, sameSite: "Strict", path: "/" } as const;
    setCookie(c, cookie, await sessions.open(key), speaksTls(c) ? { ...attributes, secure: true, prefix: "host" } : attributes);
    return c.redirect("/", 303);
  };
}

function signOut({ keys, sessions }: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const session = sessionOf(c);
    if (session !== undefined) await sessions.close(session, keys() ?? []);
    deleteCookie(c, cookie);
    deleteCookie(c, cookie, { prefix: "host" });
    return c.redirect("/", 303);
  };
}

/** Where the browser speaks TLS, only the cookie that no other host, and nothing without TLS, can have set. */
function sessionOf(c: Context): string | undefined {
  return getCookie(c, cookie, "host") ?? (speaksTls(c) ? undefined : getCookie(c, cookie));
}

/** A proxy in front may be who speaks TLS: it says so, or the page's own origin does. Whoever lies only keeps the cookie from himself. */
function speaksTls(c: Context): boolean {
  const [forwarded] = (c.req.header("x-forwarded-proto") ?? "").split(",");
  return new URL(c.req.url).protocol === "https:" || forwarded?.trim() === "https" || c.req.header("origin")?.startsWith("https:") === true;
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

/** Fields of the largest form, and some. */
const mostFields = 16;

async function readForm<Schema extends z.ZodType>(c: Context, schema: Schema): Promise<z.output<Schema>> {
  const text = new TextDecoder().decode(await c.get("body").bytes());
  // Counted before each becomes an object.
  if (!c.req.header("content-type")?.startsWith("application/x-www-form-urlencoded") || text.split("&", mostFields + 1).length > mostFields)
    throw new GatewayError("invalid_request", "That is no form of this page.");
  const parsed = schema.safeParse(Object.fromEntries(new URLSearchParams(text)));
  if (parsed.success) return parsed.data;
  throw new GatewayError("invalid_request", parsed.error.issues[0]?.message ?? "The form is incomplete.");
}
