/**
 * @module Tools of POST /v1/responses. Functions and custom tools that take free text are offered to the model, those of
 * a namespace under its name and theirs; what somebody else would have to run, or to describe, is left out.
 */
import { z } from "zod";
import type { Generation, ToolChoice } from "../../gateway/generation.ts";
import { quoted } from "../../text/quoted.ts";
import { worded } from "../text-content.ts";
import { functionName, maxTools } from "../wire.ts";

const functionTool = z.object({
  type: z.literal("function"),
  name: functionName,
  description: z.string().nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(),
});
const customTool = z.object({
  type: z.literal("custom"),
  name: functionName,
  description: z.string().nullish(),
  format: z.looseObject({ type: z.string() }).nullish(),
});
const known: ReadonlySet<string> = new Set(["function", "custom", "namespace"]);
const otherTool = z.looseObject({ type: z.string().refine((type) => !known.has(type), { abort: true }) });
const error = ({ errors }: { readonly errors: z.core.$ZodIssue[][] }): string => worded(errors[0]?.[0]);
const namespace = z.object({
  type: z.literal("namespace"),
  name: functionName,
  description: z.string().nullish(),
  tools: z
    .array(z.union([z.discriminatedUnion("type", [functionTool, customTool]), otherTool], { error }))
    .max(maxTools),
});
const tool = z.union([z.discriminatedUnion("type", [functionTool, customTool, namespace]), otherTool], { error });
type GivenTool = z.output<typeof tool>;

export const toolList = z
  .array(tool)
  .max(maxTools)
  .superRefine((tools, context) => {
    const complain = (message: string): void => context.addIssue({ code: "custom", message });
    const offered = offeredTools(tools);
    if (offered.length > maxTools)
      return complain(`must hold at most ${maxTools} tools, those of namespaces among them`);
    const names = new Map<string, OfferedTool>();
    for (const one of offered) {
      const other = names.get(one.tool.name);
      if (other !== undefined && (other.namespace !== one.namespace || other.type !== one.type))
        return complain(`two tools are called ${quoted(one.tool.name, 80)}: a call could not tell which is meant`);
      names.set(one.tool.name, one);
    }
  });

const named = { name: z.string(), namespace: z.string().nullish() };
const ownChoice = z.object({ type: z.enum(["function", "custom"]), ...named });
const allowedTools = z.object({
  type: z.literal("allowed_tools"),
  mode: z.enum(["auto", "required"]),
  tools: z.array(z.looseObject({ type: z.string(), name: z.string().nullish() })).max(maxTools),
});
const chosen: ReadonlySet<string> = new Set(["function", "custom", "allowed_tools"]);
const otherChoice = z.looseObject({ type: z.string().refine((type) => !chosen.has(type), { abort: true }) });

export const toolChoice = z.union(
  [z.enum(["none", "auto", "required"]), z.discriminatedUnion("type", [ownChoice, allowedTools]), otherChoice],
  "must be none, auto, required, a tool of the request, or allowed_tools",
);
type GivenChoice = z.output<typeof toolChoice> | null | undefined;

/** A tool that the model may call, and what its client calls it. */
export interface OfferedTool {
  readonly type: "function" | "custom";
  readonly name: string;
  readonly namespace: string | undefined;
  /** As the model is shown it. */
  readonly tool: Generation["tools"][number];
}

/** Custom tools that take free text are functions of one text: `{"input": "…"}`. */
const customParameters = {
  type: "object",
  properties: { input: { type: "string" } },
  required: ["input"],
  additionalProperties: false,
};

export function offeredTools(tools: readonly GivenTool[] | null | undefined): OfferedTool[] {
  return (tools ?? []).flatMap((tool, index) => {
    const path = `tools.${index}`;
    if (!isNamespace(tool)) return offered(tool, undefined, path);
    return tool.tools.flatMap((inner, place) => offered(inner, tool.name, `${path}.tools.${place}`));
  });
}

/** Types of tools that are not offered. */
export function leftOutTools(tools: readonly GivenTool[] | null | undefined): string[] {
  const all = (tools ?? []).flatMap((tool): readonly GivenTool[] => (isNamespace(tool) ? tool.tools : [tool]));
  return all.filter((tool) => offered(tool, undefined, "").length === 0).map(({ type }) => type);
}

function offered(tool: GivenTool, namespace: string | undefined, path: string): OfferedTool[] {
  if (!isFunction(tool) && !isFreeText(tool)) return [];
  const { type, name } = tool;
  const shown = {
    name: shownName(name, namespace),
    description: tool.description ?? undefined,
    parameters: isFunction(tool) ? (tool.parameters ?? { type: "object", properties: {} }) : customParameters,
    path: `${path}.parameters`,
    strict: isFunction(tool) && tool.strict === true,
  };
  return [{ type, name, namespace, tool: shown }];
}

/** What the model calls a tool of a namespace: two of them may have the same name. */
export function shownName(name: string, namespace: string | null | undefined): string {
  if (!namespace) return name;
  return namespace.endsWith("__") ? namespace + name : `${namespace}__${name}`;
}

function isNamespace(tool: GivenTool): tool is z.output<typeof namespace> {
  return tool.type === "namespace";
}

function isFunction(tool: GivenTool): tool is z.output<typeof functionTool> {
  return tool.type === "function";
}

/** The grammars of custom tools are of other kinds than the gateway's own. */
function isFreeText(tool: GivenTool): tool is z.output<typeof customTool> {
  return tool.type === "custom" && (tool as z.output<typeof customTool>).format?.type !== "grammar";
}

/** Why a choice cannot be kept to; undefined: it can. */
export function choiceComplaint(
  choice: GivenChoice,
  tools: readonly GivenTool[] | null | undefined,
): string | undefined {
  if (!choice || choice === "none" || choice === "auto") return undefined;
  const all = offeredTools(tools);
  if (choice === "required")
    return all.length > 0 ? undefined : "is only allowed with tools that the model can be offered";
  if (isAllowedTools(choice))
    return choice.mode === "auto" || all.some((one) => isAllowed(one, choice))
      ? undefined
      : "allows no tool that the model can be offered";
  if (!isOwnChoice(choice)) return `tools of type ${quoted(choice.type, 40)} are left out: they cannot be called here`;
  if (all.some((one) => means(choice, one))) return undefined;
  return `names no ${choice.type} that the model can be offered: ${quoted(choice.name, 80)}`;
}

/** Those that may be called, and which of them must be. */
export function toTools(
  choice: GivenChoice,
  tools: readonly GivenTool[] | null | undefined,
): Pick<Generation, "tools" | "toolChoice"> {
  const all = choice === "none" ? [] : offeredTools(tools);
  const shown = (some: readonly OfferedTool[]): Generation["tools"] => some.map(({ tool }) => tool);
  if (!choice || typeof choice === "string")
    return { tools: shown(all), toolChoice: choice === "required" ? "required" : "auto" };
  if (isAllowedTools(choice))
    return {
      tools: shown(all.filter((one) => isAllowed(one, choice))),
      toolChoice: choice.mode === "required" ? "required" : "auto",
    };
  const one = isOwnChoice(choice) ? all.find((tool) => means(choice, tool)) : undefined;
  const toolChoice: ToolChoice = one === undefined ? "auto" : { name: one.tool.name };
  return { tools: shown(all), toolChoice };
}

function isOwnChoice(choice: Exclude<GivenChoice, string | null | undefined>): choice is z.output<typeof ownChoice> {
  return choice.type === "function" || choice.type === "custom";
}

function isAllowedTools(
  choice: Exclude<GivenChoice, string | null | undefined>,
): choice is z.output<typeof allowedTools> {
  return choice.type === "allowed_tools";
}

function isAllowed(tool: OfferedTool, { tools }: z.output<typeof allowedTools>): boolean {
  return tools.some((one) => (one.type === "namespace" ? one.name === tool.namespace : means(one, tool)));
}

function means(
  choice: { readonly type: string; readonly name?: string | null | undefined; readonly namespace?: unknown },
  { type, name, namespace, tool }: OfferedTool,
): boolean {
  if (choice.type !== type) return false;
  if (choice.namespace) return choice.namespace === namespace && choice.name === name;
  return choice.name === name || choice.name === tool.name;
}
