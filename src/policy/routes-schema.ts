/** @module What stands in policies/routes.yaml: routes, and the experiments on them. */
import { z } from "zod";
import type { DeepReadonly } from "../types/deep-readonly.ts";
import { complaintsAbout, largestValue, measuredMetrics, mostMetrics } from "./feedback-metrics.ts";

const name = z.string().regex(/^[\w.-]+$/u, "may hold letters, digits, '.', '_' and '-'");

const armSchema = z.strictObject({
  policy: name,
  weight: z
    .number()
    .min(0)
    .default(1)
    .describe("an arm's share is its weight beside the others'; 0: nobody comes to it"),
});

export const assignmentUnits = ["user", "key", "conversation"] as const;
export type AssignmentUnit = (typeof assignmentUnits)[number];

const metricName = z.string().regex(/^[\w.-]{1,64}$/u, "may hold up to 64 letters, digits, '.', '_' and '-'");
const bound = z.number().min(-largestValue).max(largestValue);

const metricSchema = z.union([
  metricName,
  z.strictObject({
    name: metricName,
    min: bound.default(0).describe("feedback's least value"),
    max: bound.default(1).describe("feedback's greatest value"),
    verdict: z.boolean().default(true).describe("false: it is shown beside the verdict"),
  }),
]);

const experimentSchema = z
  .strictObject({
    name: name.optional().describe("the route's name, unless given; another name assigns everybody anew"),
    unit: z
      .enum(assignmentUnits)
      .default("user")
      .describe("what is assigned: the request's user, the API key, or the first user message"),
    arms: z.record(name, armSchema),
    control: name.optional().describe("the arm that the others are compared with: the one called control, or the last"),
    metrics: z
      .array(metricSchema)
      .min(1)
      .max(mostMetrics + measuredMetrics.length)
      .default(["rating"])
      .describe(
        "what the verdict is about, and what feedback may say: a name alone has values from 0 to 1; rating is always among them",
      ),
  })
  .superRefine(({ arms, control, metrics }, context) => {
    for (const { place, message } of complaintsAbout(metrics))
      context.addIssue({ code: "custom", path: ["metrics", place], message });
    const complain = (path: string, message: string) => context.addIssue({ code: "custom", path: [path], message });
    if (Object.keys(arms).length < 2) complain("arms", "an experiment needs at least two arms");
    if (!Object.values(arms).some(({ weight }) => weight > 0))
      complain("arms", "at least one arm needs a weight above 0");
    if (control !== undefined && !Object.hasOwn(arms, control)) complain("control", `there is no arm "${control}"`);
  });

const share = z.number().min(0).max(1);

const routeSchema = z
  .strictObject({
    policy: name.optional(),
    experiment: experimentSchema.optional(),
    allow_overrides: z
      .boolean()
      .default(false)
      .describe("requests may choose an arm (x-icdpo-arm) and change settings (icdpo.overrides)"),
    counterfactual: share
      .default(0)
      .describe("of so many scored requests, what plain sampling would have answered is recorded as well"),
    ramp: share.default(1).describe("so many units take part in the experiment; the others get the control's policy"),
  })
  .superRefine(({ policy, experiment, ramp }, context) => {
    if ((policy === undefined) === (experiment === undefined))
      context.addIssue({ code: "custom", path: ["policy"], message: "a route names either a policy or an experiment" });
    if (ramp < 1 && experiment === undefined)
      context.addIssue({ code: "custom", path: ["ramp"], message: "only experiments are ramped up" });
  });

export const routesSchema = z.strictObject({
  routes: z
    .record(name, routeSchema)
    .refine((routes) => Object.keys(routes).length > 0, "at least one route is needed"),
  default: name.optional(),
  aliases: z.record(z.string().min(1), name).default({}),
});

export type Routes = DeepReadonly<z.output<typeof routesSchema>>;
