/**
 * @module What llama.cpp's server says of the model that it runs: its sizes, its whole vocabulary, its chat template,
 * its adapters.
 */
import { z } from "zod";
import { vocabularyAnswer } from "../../client/answer-size.ts";
import { GatewayError } from "../../types/error.ts";
import type { EngineInfo, Token } from "../engine.ts";
import type { RemoteSettings, RemoteWorld } from "../engines.ts";
import { infillTokens } from "../infill.ts";
import type { Replicas } from "../server/replicas.ts";
import type { ChatTemplate } from "../template/chat-template.ts";
import { thinkingOf } from "../template/thinking.ts";
import { readTemplate } from "./llama-server-template.ts";
import { ServedVocabulary, tokenize, tokens } from "./llama-server-tokenizer.ts";

export const properties = z.object({
  default_generation_settings: z.object({ n_ctx: z.int().positive() }),
  total_slots: z.int().positive(),
  model_path: z.string(),
  chat_template: z.string().nullish(),
  bos_token: z.string(),
  eos_token: z.string(),
});
/** Four times the largest that there is. */
const largestVocabulary = 2 ** 20;
const models = z.object({
  data: z.array(z.object({ meta: z.object({ n_vocab: z.int().max(largestVocabulary), size: z.int() }).nullish() })),
});
const adapters = z.array(z.object({ id: z.int(), path: z.string(), scale: z.number() }));
const pieces = z.object({ tokens: z.array(z.object({ piece: z.union([z.string(), z.array(z.int())]) })) });

/** How much of each LoRA adapter a request wears. */
export type Worn = readonly { readonly id: number; readonly scale: number }[];

export interface LlamaServerModel {
  readonly info: EngineInfo;
  /** Completions that run side by side. */
  readonly slots: number;
  readonly vocabulary: ServedVocabulary;
  readonly template: ChatTemplate | null;
  /** What the tokenizer puts before a prompt: BOS, or nothing. */
  readonly opening: readonly Token[];
  /** What plain text begins with where the tokenizer puts a space before it; else nothing. */
  readonly space: readonly Token[];
  /** Undefined: as the server has it. */
  readonly adapters: Worn | undefined;
  /** Whether prompts may come from its cache, which does not tell adapters apart. */
  readonly caches: boolean;
}

/**
 * Throws "engine_failure" where the server is no llama-server that can be used, "configuration" where it has no such
 * adapter.
 */
export async function readModel(
  replicas: Replicas,
  settings: RemoteSettings,
  world: RemoteWorld,
  signal?: AbortSignal,
): Promise<LlamaServerModel> {
  const served = await replicas.json({ path: "/props", answer: properties, signal });
  const { data } = await replicas.json({ path: "/v1/models", answer: models, signal });
  const meta = data.find((model) => model.meta)?.meta;
  if (!meta)
    throw new GatewayError(
      "engine_failure",
      "The server does not say how large its model's vocabulary is: is it a llama-server?",
    );
  const vocabulary = await readVocabulary(replicas, served, meta.n_vocab, signal);
  const template = readTemplate(served.chat_template ?? "", vocabulary, world);
  const special = (text: string): Promise<Token[]> => tokenize(replicas, text, true, signal);
  const thinking = await thinkingOf(template?.thoughts ?? null, special);
  const worn = await readAdapters(replicas, settings.model, world, signal);
  const contextSize = Math.min(
    served.default_generation_settings.n_ctx,
    settings.contextSize ?? Number.POSITIVE_INFINITY,
  );
  const name = `${fileName(served.model_path)}:${meta.size}${worn.name === undefined ? "" : `+${worn.name}`}`;
  const body = { content: "", add_special: true };
  const space = await tokenize(replicas, "\n", false, signal);
  return {
    info: {
      model: name,
      contextSize,
      longerContext:
        "Raise this engine's context_size, if it is set, and the server's --ctx-size (its slots share it).",
      mostCharacters: contextSize * vocabulary.longestToken,
      vocabularySize: vocabulary.size,
      capabilities: {
        chat: template !== null,
        text: true,
        score: true,
        grammar: true,
        tools: template?.tools ?? null,
        lacks,
        ...(thinking && { thinking }),
        infill: infillTokens(vocabulary.control),
      },
    },
    slots: served.total_slots,
    vocabulary,
    template,
    opening: (await replicas.json({ path: "/tokenize", body, answer: tokens, signal })).tokens.slice(0, 1),
    space: vocabulary.textOf(space) === "\n" ? [] : space,
    adapters: worn.adapters,
    caches: worn.caches,
  };
}

const lacks = {
  minTokens: "llama-server knows only ignore_eos",
  penaltiesTogether: "llama.cpp counts the prompt's tokens for the one and not for the others",
};

async function readVocabulary(
  replicas: Replicas,
  served: z.output<typeof properties>,
  size: number,
  signal?: AbortSignal,
): Promise<ServedVocabulary> {
  const body = { content: Array.from({ length: size }, (_, token) => token), with_pieces: true };
  const all = await replicas.json({ path: "/tokenize", body, answer: pieces, size: vocabularyAnswer(size), signal });
  return ServedVocabulary.read(
    all.tokens.map(({ piece }) => piece),
    { bos: served.bos_token, eos: served.eos_token },
    (content, special) => tokenize(replicas, content, special, signal),
  );
}

interface Adapters extends Pick<LlamaServerModel, "adapters" | "caches"> {
  /** Of those that are on. */
  readonly name?: string;
}

/**
 * The adapter that `model` names, by number, path or file name, and no other; without a name, those that the server has
 * on.
 */
async function readAdapters(
  replicas: Replicas,
  model: string | undefined,
  { log }: RemoteWorld,
  signal: AbortSignal | undefined,
): Promise<Adapters> {
  const known = await replicas.json({ path: "/lora-adapters", answer: adapters, signal });
  if (known.length === 0) return { adapters: undefined, caches: true };
  log(
    "engine: llama-server's cache does not tell adapters apart, so prompts are computed anew each time. A file with the adapter merged in is faster.",
  );
  const isNamed = ({ id, path }: (typeof known)[number]): boolean =>
    model === undefined || [String(id), path, fileName(path), stem(path)].includes(model);
  const on = known.filter((adapter) => isNamed(adapter) && (model !== undefined || adapter.scale !== 0));
  const worn =
    model === undefined ? undefined : known.map((adapter) => ({ id: adapter.id, scale: isNamed(adapter) ? 1 : 0 }));
  const names = on.map(({ path, scale }) => `${stem(path)}${model === undefined ? `*${scale}` : ""}`);
  return { ...(on.length > 0 && { name: names.join("+") }), adapters: worn, caches: false };
}

function fileName(path: string): string {
  return path.split(/[/\\]/u).at(-1) ?? path;
}

function stem(path: string): string {
  return fileName(path).replace(/\.gguf$/u, "");
}
