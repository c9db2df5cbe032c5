/** @module The playground's work: a message is answered, beside plain sampling where that is asked for, and rated. */
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { z } from "zod";
import { type Demand, generationDemand } from "../gateway/demand.ts";
import type { AppDependencies } from "../gateway/dependencies.ts";
import { isFault, renderError } from "../gateway/errors.ts";
import { generateWhole } from "../gateway/generate.ts";
import type { Answer, Generated, Generation } from "../gateway/generation.ts";
import type { ResolvedRoute } from "../gateway/route.ts";
import { tenantOf } from "../gateway/tenant.ts";
import { askerOf, type Work, withRequest } from "../gateway/work.ts";
import { keepFeedback } from "../http/endpoints/feedback.ts";
import { icdpo } from "../icdpo/pipeline.ts";
import type { OnText } from "../icdpo/sample.ts";
import { plainly } from "../policy/bypass.ts";
import type { Policy, PolicySet, Route } from "../policy/policy.ts";
import { boundedSampling } from "../policy/policy-sampling.ts";
import type { Conversation } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import { readForm } from "./form.ts";
import { page } from "./layout.tsx";
import { type Choice, type Played, Playground, type PlaygroundProps } from "./playground-page.tsx";
import { playgroundScriptPath } from "./playground-script.ts";
import { visibleRoutes } from "./visible-routes.ts";

const playSchema = z.object({
  message: z.string().trim().min(1, "Say something first.").max(20_000),
  route: z.string(),
  compare: z.literal("on").optional(),
  history: z.string().max(500_000),
});

const historySchema = z
  .array(
    z.object({
      role: z.enum(["user", "assistant", "system"]),
      content: z.string(),
      thought: z.string().exactOptional(),
    }),
  )
  .max(200);

const ratingSchema = z.object({ id: z.string().max(128), rating: z.enum(["up", "down"]) });

/** What somebody who plays asks for. */
export interface Asked {
  /** The last turn is the message. */
  readonly conversation: Conversation;
  /** Whether plain sampling answers as well. */
  readonly compare: boolean;
  /** The choice's value. */
  readonly chosen: string;
}

/** Throws "invalid_request". */
export async function readAsked(c: Context): Promise<Asked> {
  const { message, route: chosen, compare, history } = await readForm(c, playSchema);
  const conversation: Conversation = [...parseHistory(history), { role: "user", content: message }];
  return { conversation, compare: compare === "on", chosen };
}

export function play(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const asked = await readAsked(c);
    try {
      const resolved = resolve(c, dependencies.policies(), asked.chosen);
      const played = await answer(c, dependencies, resolved, asked);
      return renderPlayground(c, dependencies, stateAfter(asked, played));
    } catch (error) {
      if (isFault(error)) dependencies.report(error);
      const { status, body } = renderError(error, c.get("isAdmin"));
      // The message stays in the conversation's place, so that it can be sent again.
      return renderPlayground(
        c,
        dependencies,
        { ...asked, conversation: asked.conversation.slice(0, -1), played: null, error: body.error.message },
        status,
      );
    }
  };
}

export function stateAfter(asked: Asked, played: Played): PlaygroundState {
  const { content, thought } = played.answer;
  const said = { role: "assistant", content: content ?? "", ...(thought !== null && { thought }) } as const;
  const conversation: Conversation = [...asked.conversation, said];
  return { ...asked, conversation, played, error: null };
}

function parseHistory(text: string): Conversation {
  try {
    return historySchema.parse(JSON.parse(text));
  } catch (error) {
    throw new GatewayError("invalid_request", "The conversation's history is damaged. Begin a new one.", {
      cause: error,
    });
  }
}

/** Answers as any client's request would be, but takes part in no experiment: who plays has chosen the arm. */
async function answer(
  c: Context,
  dependencies: AppDependencies,
  resolved: ResolvedRoute,
  { conversation, compare }: Asked,
): Promise<Played> {
  c.get("observer").note({ route: resolved.route, policy: resolved.policy.id });
  const id = dependencies.newId("play-");
  const started = dependencies.now();
  const generated = await generateWhole(c, dependencies, resolved, plainGeneration(conversation), id);
  const ms = dependencies.now() - started;
  const beside = compare ? plainBeside(c, dependencies, resolved.policy, conversation) : null;
  const plain =
    beside === null ? null : await withRequest(askerOf(c), dependencies, beside.demand, (work) => beside.answer(work));
  return playedOf(resolved, generated, { id, plain, ms });
}

export function playedOf(
  { policy }: ResolvedRoute,
  { answers, outcome }: Generated,
  others: Pick<Played, "id" | "plain" | "ms">,
): Played {
  return { ...others, policy: policy.id, answer: answers[0] as Answer, outcome };
}

/** What plain sampling answers to the same; null: nothing is chosen by a score, so that it would be no comparison. */
export function plainBeside(
  c: Context,
  dependencies: AppDependencies,
  policy: Policy,
  conversation: Conversation,
): { readonly demand: Demand; readonly answer: (work: Work, onText?: OnText) => Promise<string> } | null {
  if (policy.settings.score.type === "none") return null;
  const sampling = boundedSampling(policy.settings);
  const { randomSeed, now } = dependencies;
  const request = { conversation, sampling, answers: 1, seed: randomSeed(), tenant: tenantOf(c, dependencies), now };
  const answer = async ({ signal, attempt, enter: onStage }: Work, onText?: OnText): Promise<string> => {
    const { ranked } = await attempt((usage) => icdpo(plainly(policy), { ...request, signal, onStage, onText, usage }));
    return ranked[0]?.text ?? "";
  };
  return { demand: generationDemand(plainly(policy), request), answer };
}

export function plainGeneration(conversation: Conversation): Generation {
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

export function rate(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const { id, rating } = await readForm(c, ratingSchema);
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

export interface PlaygroundState extends Asked {
  readonly played: Played | null;
  readonly error: string | null;
}

export function renderPlayground(
  c: Context,
  dependencies: AppDependencies,
  state: PlaygroundState,
  status = 200,
): Response | Promise<Response> {
  const content = <Playground {...propsOf(c, dependencies, state)} />;
  const isSignedIn = dependencies.keys() !== null;
  return c.html(
    page({ title: "Playground", section: "/", isSignedIn, script: playgroundScriptPath }, content),
    status as ContentfulStatusCode,
  );
}

export function propsOf(c: Context, dependencies: AppDependencies, state: PlaygroundState): PlaygroundProps {
  const choices = visibleRoutes(c, dependencies.policies()).flatMap(choicesOf);
  return { ...state, choices, canRate: dependencies.records.state().status === "ok" };
}

function choicesOf({ name, policy, experiment }: Route): Choice[] {
  if (experiment === null) return [{ value: name, label: `${name} (${policy.id})` }];
  return experiment.arms.map((arm) => ({
    value: `${name}/${arm.name}`,
    label: `${name}, arm ${arm.name} (${arm.policy.id})`,
  }));
}

export function resolve(c: Context, set: PolicySet, chosen: string): ResolvedRoute {
  const [name = "", armName] = chosen.split("/");
  const route = visibleRoutes(c, set).find((one) => one.name === name);
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
