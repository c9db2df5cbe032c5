/** @module What a GGUF file says of its model, and what that model needs. No weights are read. */
import { stat } from "node:fs/promises";
import { GgufFileType, GgufInsights, readGgufFileInfo } from "node-llama-cpp";
import { GatewayError, messageOf } from "../../types/error.ts";
import { infillSpellings } from "../infill.ts";
import { type TemplateAbilities, templateAbilities } from "../template/template-abilities.ts";
import { contextBytes } from "./context-memory.ts";

export interface ModelCard {
  readonly file: string;
  /** Bytes of the file. */
  readonly fileSize: number;
  readonly name: string | null;
  readonly architecture: string;
  readonly parameters: number;
  /** As llama.cpp names it, such as Q4_K_M; null where the file does not say. */
  readonly quantisation: string | null;
  /** Tokens that the model was trained with; null where the file does not say. */
  readonly trainContext: number | null;
  readonly memory: {
    /** Bytes of the weights. */
    readonly weights: number;
    /** Bytes that each further token of a sequence takes. */
    readonly perToken: number;
    /** Bytes of so many sequences of so many tokens, beside the weights, on a CPU. */
    readonly contexts: readonly { readonly tokens: number; readonly sequences: number; readonly bytes: number }[];
  };
  readonly vocabulary: number;
  /** Spellings; null: there is none. `prepended`: prompts begin with it. */
  readonly bos: { readonly text: string; readonly prepended: boolean } | null;
  readonly eos: string | null;
  /** Spellings of the tokens that fill in the middle: before, after, and where the middle begins. */
  readonly fim: readonly [prefix: string, suffix: string, middle: string] | null;
  /** Null: the file has no chat template; a text: why it cannot be read. */
  readonly template: TemplateAbilities | string | null;
}

/** One is what plain requests take each, four a scored one of three candidates; sixteen of the usual length are open. */
const sequenceCounts = [1, 4, 16] as const;
const fewestTokens = 1024;
const controlType = 3;

/**
 * `contexts`: sizes in tokens to tell the memory of; empty: 4,096 and its multiples, up to what the model was trained
 * with. Throws "invalid_request" where the file is no language model.
 */
export async function readModelCard(file: string, contexts: readonly number[] = []): Promise<ModelCard> {
  const info = await readGgufFileInfo(file, { logWarnings: false, sourceType: "filesystem" });
  const { general, tokenizer } = info.metadata;
  if (tokenizer?.ggml === undefined)
    throw new GatewayError(
      "invalid_request",
      (general as { readonly type?: string }).type === "adapter"
        ? `${file} is an adapter, not a model: name it under 'adapters' of an engine, whose model can be inspected.`
        : `${file} holds no vocabulary: it is no language model.`,
    );
  const insights = await GgufInsights.from(info);
  const { tokens, bos_token_id: bos, eos_token_id: eos, add_bos_token: prepended = false } = tokenizer.ggml;
  const spelling = (token: number | undefined): string | null => (token === undefined ? null : (tokens[token] ?? null));
  const exact = general.file_type === GgufFileType.ALL_F32;
  const bytes = (size: number, sequences: number): number =>
    Math.ceil(contextBytes(insights, { contextSize: size, sequences }, { exact, gpu: false }));
  const trainContext = insights.trainContextSize ?? null;
  return {
    file,
    fileSize: (await stat(file)).size,
    name: general.name ?? null,
    architecture: general.architecture,
    parameters: insights.totalParameters,
    quantisation: general.file_type === undefined ? null : quantisationName(general.file_type),
    trainContext,
    memory: {
      weights: insights.modelSize,
      perToken: (bytes(2 * fewestTokens, 1) - bytes(fewestTokens, 1)) / fewestTokens,
      contexts: (contexts.length > 0 ? contexts : usualContexts(trainContext)).flatMap((size) =>
        sequenceCounts.map((sequences) => ({ tokens: size, sequences, bytes: bytes(size, sequences) })),
      ),
    },
    vocabulary: tokens.length,
    bos: bos === undefined ? null : { text: spelling(bos) ?? "", prepended },
    eos: spelling(eos),
    fim: fimOf(tokenizer.ggml, spelling),
    template: abilitiesOf(tokenizer, { bos: spelling(bos) ?? "", eos: spelling(eos) ?? "" }),
  };
}

function quantisationName(type: GgufFileType): string | null {
  return GgufFileType[type]?.replace(/^(?:MOSTLY|ALL)_/u, "") ?? null;
}

function usualContexts(trainContext: number | null): number[] {
  const most = trainContext ?? 4096;
  const sizes = [4096, 8192, 16_384, 32_768].filter((size) => size < most);
  return [...sizes, Math.min(most, 65_536)];
}

type Ggml = NonNullable<Awaited<ReturnType<typeof readGgufFileInfo>>["metadata"]["tokenizer"]>["ggml"];

function fimOf(ggml: Ggml, spelling: (token: number | undefined) => string | null): ModelCard["fim"] {
  const { fim_pre_token_id: before, fim_suf_token_id: after, fim_mid_token_id: middle } = ggml;
  const named = [before, after, middle].map(spelling);
  if (named.every((text) => text !== null)) return named as unknown as ModelCard["fim"];
  const known = new Set(ggml.tokens);
  return infillSpellings.find((texts) => texts.every((text) => known.has(text))) ?? null;
}

function abilitiesOf(
  { chat_template: source, ggml }: { readonly chat_template?: string; readonly ggml: Ggml },
  ends: { readonly bos: string; readonly eos: string },
): ModelCard["template"] {
  if (source === undefined) return null;
  const control = ggml.tokens.filter((text, i) => ggml.token_type?.[i] === controlType && text !== "");
  try {
    return templateAbilities(source, { ...ends, control });
  } catch (error) {
    return messageOf(error);
  }
}
