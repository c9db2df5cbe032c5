/**
 * @module Which policy serves a request: the route it names, the arm it is assigned to, and what it changes for itself.
 */
import type { Context } from "hono";
import { mayUse } from "../access/access.ts";
import { userOfHeaders } from "../access/user-headers.ts";
import { assign, pseudonym, shares, unitOf } from "../experiment/assign.ts";
import { LoneUnits, loneUnitRemedy, manyRequests } from "../experiment/lone-unit.ts";
import { overridden } from "../policy/overrides.ts";
import type { Policy, PolicySet, Route } from "../policy/policy.ts";
import { resolveRoute } from "../policy/resolve.ts";
import { GatewayError } from "../types/error.ts";
import type { AppDependencies } from "./dependencies.ts";
import type { Generation } from "./generation.ts";

export interface ResolvedRoute {
  readonly route: string;
  readonly policy: Policy;
  /** Null where there is no experiment, or the request's unit does not take part. */
  readonly arm: string | null;
  /** Users are its experiment's unit: those who are named are told apart. */
  readonly isUsers: boolean;
  /** The request changes the policy's instructions for itself. */
  readonly bringsOpening: boolean;
  /** The share of scored requests for which plain sampling's answer is recorded as well. */
  readonly counterfactual: number;
}

/** Path first, then header, then the body's `model`. Throws "model_not_found". */
export function requestedRoute(c: Context, policies: PolicySet, model: string): Route {
  const names = { path: c.req.param("route"), header: c.req.header("x-icdpo-route"), model };
  const route = resolveRoute(policies, names, (name) => mayUse(c.get("caller"), name));
  c.get("observer").note({ route: route.name });
  return route;
}

/** A route with one policy. Throws "invalid_request" for an experiment, which only assigns generated answers. */
export function singlePolicyRoute(c: Context, policies: PolicySet, model: string): ResolvedRoute {
  const { name, policy, experiment, counterfactual } = requestedRoute(c, policies, model);
  if (experiment !== null)
    throw new GatewayError(
      "invalid_request",
      `The route "${name}" is an experiment, which serves /v1/chat/completions, /v1/responses and /v1/messages. Use a route with one policy here.`,
      { param: "model" },
    );
  c.get("observer").note({ policy: policy.id });
  return { route: name, policy, arm: null, isUsers: false, bringsOpening: false, counterfactual };
}

/** Of each gateway. */
const loneUnits = new WeakMap<AppDependencies["admission"], LoneUnits>();

/** An experiment by user compares nobody where all requests are one user's: that is said, once. */
function watchUnits(
  { admission, tell }: Pick<AppDependencies, "admission" | "tell">,
  name: string,
  unit: string,
): void {
  const seen = loneUnits.get(admission) ?? new LoneUnits();
  loneUnits.set(admission, seen);
  if (seen.see(name, unit))
    tell(
      `The experiment "${name}" is by user, but the first ${manyRequests} requests are all of one unit: arms cannot be compared. ${loneUnitRemedy}`,
    );
}

/**
 * The request's `user` counts before whom its headers name. Throws "model_not_found", "overloaded", and
 * "invalid_request" for overrides that are not allowed or cannot be.
 */
export async function assignedRoute(
  c: Context,
  dependencies: Pick<AppDependencies, "policies" | "admission" | "userHeaders" | "tell">,
  model: string,
  { user: given, conversation, overrides }: Pick<Generation, "user" | "conversation" | "overrides">,
): Promise<ResolvedRoute> {
  const { policies, admission } = dependencies;
  const user = given ?? userOfHeaders(c, dependencies);
  const route = requestedRoute(c, policies(), model);
  const wantedArm = c.req.header("x-icdpo-arm");
  if (wantedArm !== undefined) checkAllowed(route, "x-icdpo-arm");
  if (overrides !== undefined) checkAllowed(route, "icdpo.overrides");
  const observer = c.get("observer");
  if (user !== undefined) observer.note({ user: pseudonym("user", user) });
  let { policy } = route;
  let arm: string | null = null;
  if (route.experiment !== null) {
    const { experiment } = route;
    const opening = conversation.find(({ role }) => role === "user")?.content ?? "";
    const unit = unitOf(experiment.unit, { user, key: c.get("caller")?.name, opening });
    if (experiment.unit === "user") watchUnits(dependencies, experiment.name, unit);
    const chosen = wantedArm === undefined ? assign(experiment, unit) : namedArm(experiment.arms, wantedArm);
    policy = (chosen ?? experiment.control).policy;
    arm = chosen?.name ?? null;
    // What a tester chose, or changed, says nothing about an arm.
    const isForced = wantedArm !== undefined || overrides !== undefined;
    if (arm !== null && !isForced)
      observer.note({ experiment: experiment.name, arm, unit, shares: shares(experiment.arms) });
  }
  if (overrides !== undefined) {
    // A policy is built for this request alone: not where there is no room for the request.
    admission.check();
    policy = await overridden(policy, overrides);
  }
  observer.note({ policy: policy.id });
  const isUsers = route.experiment?.unit === "user";
  return {
    route: route.name,
    policy,
    arm,
    isUsers,
    bringsOpening: overrides?.instructions !== undefined,
    counterfactual: route.counterfactual,
  };
}

function checkAllowed({ name, allowOverrides }: Route, param: string): void {
  if (!allowOverrides)
    throw new GatewayError(
      "invalid_request",
      `Invalid '${param}': the route "${name}" does not let requests choose (allow_overrides).`,
      {
        param,
      },
    );
}

function namedArm<Arm extends { readonly name: string }>(arms: readonly Arm[], name: string): Arm {
  const arm = arms.find((one) => one.name === name);
  if (arm !== undefined) return arm;
  const known = arms.map((one) => one.name).join(", ");
  throw new GatewayError("invalid_request", `Invalid 'x-icdpo-arm': there is no arm "${name}". Arms: ${known}.`, {
    param: "x-icdpo-arm",
  });
}
