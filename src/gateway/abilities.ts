/** @module What a request asks for that its engine does not do: it is refused by name before anything is begun. */
import type { Capabilities, Optional, SamplingParameters } from "../engine/engine.ts";
import { GatewayError } from "../types/error.ts";
import type { Generation } from "./generation.ts";

/** As clients write them. */
const fields: Readonly<Record<Optional, string>> = {
  topK: "top_k",
  minP: "min_p",
  repetitionPenalty: "repetition_penalty",
  repetitionWindow: "repeat_last_n",
  minTokens: "min_tokens",
  ignoreEos: "ignore_eos",
  penaltiesTogether: "repetition_penalty",
  templateVariables: "chat_template_kwargs",
};

type Given = { readonly [Name in keyof SamplingParameters]?: SamplingParameters[Name] | undefined };
type Asked = { readonly sampling: Given } & Pick<Generation, "variables">;

/** Throws "unsupported_parameter". */
export function checkAbilities({ lacks = {} }: Pick<Capabilities, "lacks">, asked: Asked): void {
  for (const [name, reason] of Object.entries(lacks) as [Optional, string][])
    if (asksFor(name, asked)) {
      const together = name === "penaltiesTogether" ? " beside presence_penalty or frequency_penalty" : "";
      throw refusal(fields[name], `this route's engine does not have it${together}: ${reason}`);
    }
}

/** Throws "unsupported_parameter" where a text that is over could not end. */
export function checkEnding({ minTokens, ignoreEos }: Given, grammar: string | undefined): void {
  if (grammar === undefined || (minTokens === undefined && !ignoreEos)) return;
  throw refusal(
    ignoreEos ? "ignore_eos" : "min_tokens",
    "an answer that keeps to a grammar, as with tools and JSON formats, ends where the grammar does",
  );
}

function asksFor(name: Optional, { sampling, variables }: Asked): boolean {
  const { presencePenalty = 0, frequencyPenalty = 0, repetitionPenalty = 1 } = sampling;
  switch (name) {
    case "penaltiesTogether":
      return repetitionPenalty !== 1 && (presencePenalty !== 0 || frequencyPenalty !== 0);
    case "templateVariables":
      return variables !== undefined;
    case "repetitionPenalty":
      return repetitionPenalty !== 1;
    case "repetitionWindow":
      return repetitionPenalty !== 1 && sampling.repetitionWindow !== undefined;
    case "minP":
      return (sampling.minP ?? 0) > 0;
    default:
      return Boolean(sampling[name]);
  }
}

function refusal(param: string, reason: string): GatewayError {
  return new GatewayError("unsupported_parameter", `Invalid '${param}': ${reason}.`, { param });
}
