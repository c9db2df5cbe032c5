/** @module The models that a policy names: opened, and held to what the policy asks of them. */
import type { Capabilities } from "../engine/engine.ts";
import type { Engines, ModelReference } from "../engine/engines.ts";
import type { Demonstration } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import { type Misfit, misfitOfChoice } from "./choice-misfits.ts";
import { misfitOfDecoding } from "./decoding.ts";
import { defaultEngine } from "./engines-file.ts";
import { complaintAt } from "./parse.ts";
import type { Models, PolicySet, PromptedModel } from "./policy.ts";
import type { PolicySettings, PromptFormat } from "./schema.ts";
import { isBySums, rewardAsked, type Score } from "./score-schema.ts";

/** The models that a policy names. */
export function modelReferences({
  engine = defaultEngine,
  adapter,
  scorer,
  reference,
  score,
}: PolicySettings): Named<ModelReference> {
  const sampler = { engine, adapter };
  const refers = score.type === "contrast" && score.negative === "reference";
  return {
    sampler,
    scorer: scorer === undefined ? sampler : { engine: scorer.engine ?? engine, adapter: scorer.adapter },
    reference: refers ? { engine: reference?.engine ?? engine, adapter: reference?.adapter } : null,
  };
}

/** All that the policies of a set name. */
export function modelsOf({ policies }: PolicySet): ModelReference[] {
  return [...policies.values()].flatMap(({ settings }) => {
    const { sampler, scorer, reference } = modelReferences(settings);
    return reference === null ? [sampler, scorer] : [sampler, scorer, reference];
  });
}

/** The reward models that the policies of a set name. */
export function rewardsOf({ policies }: PolicySet): string[] {
  return [...policies.values()].flatMap(({ settings }) => rewardAsked(settings.score)?.model ?? []);
}

/** Something about each model of a policy. */
export interface Named<Value> {
  readonly sampler: Value;
  readonly scorer: Value;
  readonly reference: Value | null;
}

export async function openModels(
  engines: Engines,
  settings: PolicySettings,
  formats: Named<PromptFormat>,
): Promise<Models> {
  const { sampler, scorer, reference } = modelReferences(settings);
  const open = async (model: ModelReference, format: PromptFormat): Promise<PromptedModel> => ({
    engine: await engines.open(model),
    format,
  });
  const sampling = await open(sampler, formats.sampler);
  return {
    sampler: sampling,
    scorer: settings.scorer === undefined ? sampling : await open(scorer, formats.scorer),
    reference: reference && formats.reference && (await open(reference, formats.reference)),
  };
}

/** One model is named by itself. */
export async function weightsOf({ sampler, scorer, reference }: Models): Promise<string> {
  const nameOf = async ({ engine }: PromptedModel): Promise<string> => (await engine.info()).model;
  if (scorer === sampler && reference === null) return nameOf(sampler);
  return JSON.stringify([await nameOf(sampler), await nameOf(scorer), reference && (await nameOf(reference))]);
}

/** `[models]`, in tokens; those that are one are named once. */
export async function contextSizesOf({ sampler, scorer, reference }: Models): Promise<number[]> {
  const models = new Set([sampler, scorer, ...(reference === null ? [] : [reference])]);
  return Promise.all([...models].map(async ({ engine }) => (await engine.info()).contextSize));
}

export interface UsedModel {
  readonly format: PromptFormat;
  readonly capabilities: Capabilities;
}

export type UsedModels = Named<UsedModel>;

export async function usedModels(
  file: string,
  text: string,
  settings: PolicySettings,
  capabilitiesOf: (model: ModelReference) => Promise<Capabilities>,
): Promise<UsedModels> {
  const use = async (field: string, model: ModelReference): Promise<UsedModel> => {
    const capabilities = await capabilitiesOf(model).catch((error: unknown) => {
      if (!(error instanceof GatewayError) || error.code !== "configuration") throw error;
      throw complaintAt(file, text, [field], error.message);
    });
    const format = settings.prompt === "auto" ? (capabilities.chat ? "chat" : "hh-rlhf") : settings.prompt;
    return { format, capabilities };
  };
  const { sampler, scorer, reference } = modelReferences(settings);
  const sampling = await use(
    settings.engine === undefined && settings.adapter !== undefined ? "adapter" : "engine",
    sampler,
  );
  return {
    sampler: sampling,
    scorer: settings.scorer === undefined ? sampling : await use("scorer", scorer),
    reference: reference && (await use("reference", reference)),
  };
}

/** What a policy may say of sampling that not every engine does. */
const samplingFields = [
  ["min_p", "minP"],
  ["repetition_penalty", "repetitionPenalty"],
  ["repeat_last_n", "repetitionWindow"],
  ["min_tokens", "minTokens"],
] as const;

/** What does not go together in a policy, if anything. */
export function contradiction(
  settings: PolicySettings,
  { sampler, scorer, reference }: UsedModels,
  demonstrations: readonly Demonstration[],
): Misfit | null {
  const { score } = settings;
  const at = (path: string, reason: string) => ({ path: path.split("."), reason });
  const scoring = !isBySums(score) ? [] : [scorer, ...(reference === null ? [] : [reference])];
  for (const { format, capabilities } of [sampler, ...scoring]) {
    if (format === "chat" && !capabilities.chat)
      return at("prompt", `the model has no chat template; use hh-rlhf or synthetic-gpt`);
    if (format !== "chat" && !capabilities.text) return at("prompt", `this engine takes chat messages only; use chat`);
  }
  if (scoring.some(({ capabilities }) => !capabilities.score))
    return at("score", `this engine cannot return log-probabilities of given completions, which "${score.type}" needs`);
  const lacked = samplingFields.find(
    ([field, name]) => settings.sampling[field] !== undefined && sampler.capabilities.lacks?.[name] !== undefined,
  );
  if (lacked !== undefined)
    return at(`sampling.${lacked[0]}`, `this engine does not have it: ${sampler.capabilities.lacks?.[lacked[1]]}`);
  const isReferring = score.type === "contrast" && score.negative === "reference";
  if (isReferring && reference === null) return at("score.negative", `this policy has no reference model`);
  const lack = score.type === "contrast" ? lackOf(score.negative, demonstrations, settings.demonstrations) : null;
  if (lack !== null) return at("score.negative", lack);
  const undecodable = misfitOfDecoding(settings, sampler.capabilities);
  if (undecodable !== null) return undecodable;
  const misfit = misfitOfChoice(settings, sampler.capabilities);
  if (misfit !== null) return misfit;
  const dialogue = demonstrations.find(({ messages }) => messages.length > 1);
  if (sampler.format === "synthetic-gpt" && dialogue !== undefined)
    return at(
      "prompt",
      `synthetic-gpt takes single user messages, and the demonstration "${dialogue.id}" has ${dialogue.messages.length}`,
    );
  return null;
}

/** What the demonstrations lack for that negative context, if anything. */
function lackOf(
  negative: Extract<Score, { type: "contrast" }>["negative"],
  demonstrations: readonly Demonstration[],
  set: string | undefined,
): string | null {
  if (negative !== "rejected" && negative !== "near") return null;
  const unpaired = demonstrations.find((demonstration) => demonstration[negative] === undefined);
  if (unpaired === undefined) return null;
  return negative === "near"
    ? `"near" needs near negatives in every demonstration, and "${unpaired.id}" has none; \`icdpo demos negatives ${set}\` makes them`
    : `"rejected" needs a rejected response in every demonstration, and "${unpaired.id}" has none`;
}
