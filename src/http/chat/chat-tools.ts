/** @module Tools of POST /v1/chat/completions: functions are offered to the model, those of other types left out. */
import { z } from "zod";
import type { Generation, ToolChoice } from "../../gateway/generation.ts";
import { quoted } from "../../text/quoted.ts";
import { vainHeaders } from "../in-vain.ts";
import { worded } from "../text-content.ts";
import { functionName, maxTools } from "../wire.ts";
import { speaksOfFunctions } from "./legacy-functions.ts";

const functionTool = z.object({
  type: z.literal("function"),
  function: z.object({
    name: functionName,
    description: z.string().nullish(),
    parameters: z.record(z.string(), z.unknown()).nullish(),
    strict: z.boolean().nullish(),
  }),
});
/** Somebody else would have to run them, or to describe them to the model. */
const otherTool = z.looseObject({ type: z.string().refine((type) => type !== "function", { abort: true }) });
export const toolList = z
  .array(z.union([functionTool, otherTool], { error: ({ errors }) => worded(errors[0]?.[0]) }))
  .max(maxTools);
type GivenTool = z.output<typeof toolList>[number];

const named = z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) });
const allowedTools = z.object({
  type: z.literal("allowed_tools"),
  allowed_tools: z.object({
    mode: z.enum(["auto", "required"]),
    tools: z
      .array(z.looseObject({ type: z.string(), function: z.looseObject({ name: z.string() }).nullish() }))
      .max(maxTools),
  }),
});
const chosen: ReadonlySet<string> = new Set(["function", "allowed_tools"]);
const otherChoice = z.looseObject({ type: z.string().refine((type) => !chosen.has(type), { abort: true }) });
export const toolChoice = z.union(
  [z.enum(["none", "auto", "required"]), z.discriminatedUnion("type", [named, allowedTools]), otherChoice],
  "must be none, auto, required, a function of the request's tools, or allowed_tools",
);
type GivenChoice = z.output<typeof toolChoice> | null | undefined;

interface Given extends Readonly<Record<string, unknown>> {
  readonly tools?: readonly GivenTool[] | null | undefined;
  readonly tool_choice?: GivenChoice;
}

/** Headers that name what the request asks for in vain. */
export function inVain({ tools }: Given): Record<string, string> {
  return vainHeaders({ leftOut: (tools ?? []).flatMap((tool) => (isFunction(tool) ? [] : [tool.type])) });
}

/** Why a choice cannot be kept to; undefined: it can. */
export function choiceComplaint(body: Given): string | undefined {
  const { tools, tool_choice: choice } = body;
  if (!choice || choice === "none") return undefined;
  if (!tools?.length) return choice === "auto" ? undefined : "is only allowed with tools";
  if (isOther(choice)) return `tools of type ${quoted(choice.type, 40)} are left out: they cannot be called here`;
  const mustCall = choice !== "auto" && !(isAllowedTools(choice) && choice.allowed_tools.mode === "auto");
  return mustCall && callable(body).length === 0
    ? "is only allowed with functions that the model can be offered"
    : undefined;
}

/** Those that may be called, and which of them must be. */
export function toTools(body: Given): Pick<Generation, "tools" | "toolChoice"> {
  return { tools: body.tool_choice === "none" ? [] : callable(body), toolChoice: toToolChoice(body.tool_choice) };
}

function callable(body: Given): Generation["tools"] {
  const { tools, tool_choice: choice } = body;
  const all = (tools ?? []).flatMap((tool, index) => {
    if (!isFunction(tool)) return [];
    const { name, description, parameters, strict } = tool.function;
    const path = speaksOfFunctions(body) ? `functions.${index}.parameters` : `tools.${index}.function.parameters`;
    return [
      {
        name,
        description: description ?? undefined,
        parameters: parameters ?? { type: "object", properties: {} },
        strict: strict === true,
        path,
      },
    ];
  });
  if (!isAllowedTools(choice)) return all;
  const allowed = new Set(choice.allowed_tools.tools.map((one) => one.function?.name));
  return all.filter(({ name }) => allowed.has(name));
}

function toToolChoice(choice: GivenChoice): ToolChoice {
  if (isAllowedTools(choice)) return choice.allowed_tools.mode;
  if (choice === "required") return "required";
  return isNamed(choice) ? { name: choice.function.name } : "auto";
}

function isFunction(tool: GivenTool): tool is z.output<typeof functionTool> {
  return tool.type === "function";
}

function isNamed(choice: GivenChoice): choice is z.output<typeof named> {
  return typeof choice === "object" && choice !== null && choice.type === "function";
}

function isAllowedTools(choice: GivenChoice): choice is z.output<typeof allowedTools> {
  return typeof choice === "object" && choice !== null && choice.type === "allowed_tools";
}

function isOther(choice: GivenChoice): choice is z.output<typeof otherChoice> {
  return typeof choice === "object" && choice !== null && !chosen.has(choice.type);
}
