/**
 * @module What llama.cpp's server, vLLM, Ollama and LM Studio take beside OpenAI's and Anthropic's fields: each works,
 * is refused by name, or is known to mean nothing here. docs/parameters.md has the table.
 */
import { z } from "zod";
import type { TemplateVariables } from "../engine/engine.ts";
import type { AskedReasoning } from "../policy/reasoning-schema.ts";
import { reasoningFields, toReasoning } from "./reasoning-fields.ts";
import { type Refusal, refuse } from "./wire.ts";

/** Longer ones are more than anybody tells a template, and every context is rendered with them. */
const longestVariables = 8_192;
/** What a template is told by the gateway itself. */
const ownVariables: ReadonlySet<string> = new Set([
  "messages",
  "tools",
  "add_generation_prompt",
  "continue_final_message",
  "bos_token",
  "eos_token",
  "chat_template",
]);

const templateVariables = z
  .record(z.string().regex(/^[A-Za-z_]\w{0,63}$/u, "must be a variable's name"), z.unknown())
  .superRefine((variables, context) => {
    const own = Object.keys(variables).find((name) => ownVariables.has(name));
    if (own !== undefined)
      context.addIssue({ code: "custom", path: [own], message: "is what the gateway itself tells the template" });
    if (JSON.stringify(variables).length > longestVariables)
      context.addIssue({ code: "custom", message: `may hold at most ${longestVariables} characters` });
  });

/** What is about a prompt of messages. */
export const serverPromptFields = {
  chat_template_kwargs: templateVariables.nullish(),
  cache_prompt: z.boolean().nullish().describe("false: nothing comes from a cache of earlier requests"),
  ...reasoningFields,
};

const promptBody = z.object(serverPromptFields);

export function toServerPrompt(body: z.output<typeof promptBody>): {
  readonly variables: TemplateVariables | undefined;
  readonly cachesPrompt: boolean;
  readonly reasoning: AskedReasoning | undefined;
} {
  const { chat_template_kwargs: variables, cache_prompt } = body;
  const isTold = variables !== undefined && variables !== null && Object.keys(variables).length > 0;
  return {
    variables: isTold ? variables : undefined,
    cachesPrompt: cache_prompt !== false,
    reasoning: toReasoning(body, variables ?? {}),
  };
}

const isOff = (reason: string, ...harmless: readonly unknown[]): Refusal => ({ reason, harmless });
const sampler = "the gateway has no such sampler";
const shape = "answers have the shape of the protocol";

/** Of every protocol. What belongs to another field, and means nothing while that is off, stands in `withoutEffect`. */
const refusals: Readonly<Record<string, Refusal>> = {
  typical_p: isOff(sampler, 1),
  typ_p: isOff(sampler, 1),
  tfs_z: isOff(sampler, 1),
  top_a: isOff(sampler, 0),
  top_n_sigma: isOff(sampler, -1, 0),
  xtc_probability: isOff(sampler, 0),
  dry_multiplier: isOff(sampler, 0),
  mirostat: isOff(sampler, 0),
  mirostat_mode: isOff(sampler, 0),
  dynatemp_range: isOff(sampler, 0),
  adaptive_target: isOff(sampler, -1),
  samplers: isOff("the samplers' order is fixed", []),
  penalize_nl: isOff("line breaks count as other tokens do", true),
  use_beam_search: isOff("the gateway samples", false),
  length_penalty: isOff("there is no search by beams that it would belong to", 1),
  bad_words: isOff("use logit_bias", []),
  allowed_token_ids: isOff("use a grammar", []),
  logits_processors: isOff("no code of a request's is run", []),
  stop_token_ids: isOff("use stop", []),
  include_stop_str_in_output: isOff("a text ends before what stops it", false),
  skip_special_tokens: isOff("control tokens are no text", true),
  spaces_between_special_tokens: isOff("control tokens are no text", true),
  truncate_prompt_tokens: isOff("the conversation is not cut"),
  n_keep: isOff("the conversation is not cut", 0, -1),
  n_discard: isOff("the conversation is not cut", 0),
  context_overflow_policy: isOff("the conversation is not cut", "stopAtLimit"),
  num_ctx: isOff("the context is the server's (ICDPO_CONTEXT_SIZE)"),
  num_predict: isOff("use max_tokens"),
  options: isOff("use the request's own fields (temperature, top_k, max_tokens …)", {}),
  format: isOff("use response_format", ""),
  template: isOff("the model's own template is used", ""),
  chat_template: isOff("the model's own template is used", ""),
  context: isOff("send the whole conversation", []),
  raw: isOff("use /v1/completions", false),
  images: isOff("the model reads text only", []),
  image_data: isOff("the model reads text only", []),
  mm_processor_kwargs: isOff("the model reads text only"),
  media_io_kwargs: isOff("the model reads text only"),
  documents: isOff("put them into a message", []),
  n_probs: isOff("use logprobs and top_logprobs", 0),
  post_sampling_probs: isOff("log-probabilities are the model's own", false),
  prompt_logprobs: isOff("use /v1/completions with echo and logprobs", false),
  min_keep: isOff("top_p and min_p keep the likeliest token at least", 0, 1),
  t_max_predict_ms: isOff("a policy's budget_ms limits the time", 0, -1),
  n_cmpl: isOff("use n", 1),
  n_indent: isOff(sampler, 0),
  lora: isOff("a route's policy says which adapter it wears", []),
  lora_request: isOff("a route's policy says which adapter it wears"),
  response_fields: isOff(shape, []),
  return_tokens: isOff(shape, false),
  return_token_ids: isOff(shape, false),
  return_tokens_as_token_ids: isOff(shape, false),
  return_progress: isOff(shape, false),
  timings_per_token: isOff(`${shape}; the header server-timing tells times`, false),
  parse_tool_calls: isOff("tool calls are always read", true),
  grammar_lazy: isOff("a grammar counts from the first token on", false),
  grammar_triggers: isOff("a grammar counts from the first token on", []),
  preserved_tokens: isOff("control tokens are no text", []),
  priority: isOff("requests are served as they come", 0),
  cache_salt: isOff("keys' prompts are kept apart already; cache_prompt: false keeps one by itself"),
  kv_transfer_params: isOff("prompts' states stay where they are", {}),
  vllm_xargs: isOff("they would be meant for one engine", {}),
  draft_model: isOff("no other model drafts", ""),
};

/** Of conversations: /v1/completions has fields of these names itself. */
const chatRefusals: Readonly<Record<string, Refusal>> = {
  echo: isOff("the answer does not repeat the conversation", false),
  add_generation_prompt: isOff("an assistant's turn is always begun", true),
  continue_final_message: isOff("an answer that has begun cannot be gone on with", false),
};

/** What an answer keeps to is a conversation's. */
const textRefusals: Readonly<Record<string, Refusal>> = Object.fromEntries(
  [
    "grammar",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "json_schema",
  ].map((name) => [name, isOff("use /v1/chat/completions for answers that keep to a format", "")]),
);

/** Known, and of no effect: what they ask for is done anyway, or concerns what is off. */
export const withoutEffect: readonly string[] = [
  "dynatemp_exponent",
  "xtc_threshold",
  "dry_base",
  "dry_allowed_length",
  "dry_penalty_last_n",
  "dry_sequence_breakers",
  "mirostat_tau",
  "mirostat_eta",
  "adaptive_decay",
  "early_stopping",
  "guided_decoding_backend",
  "include_reasoning",
  "reasoning_format",
  "keep_alive",
  "ttl",
  "request_id",
  "id_slot",
  "slot_id",
];

export const refusedParameters: readonly string[] = [...Object.keys(refusals), ...Object.keys(chatRefusals)];

/** Complains about what other servers do and this one does not. */
export function refuseOthers(
  body: Readonly<Record<string, unknown>>,
  context: z.core.$RefinementCtx,
  of: "conversation" | "text" = "conversation",
): void {
  refuse(body, refusals, context);
  refuse(body, of === "conversation" ? chatRefusals : textRefusals, context);
  const [one, other] = [body["repetition_penalty"], body["repeat_penalty"]];
  if (typeof one === "number" && typeof other === "number" && one !== other)
    context.addIssue({ code: "custom", path: ["repeat_penalty"], message: "is another than repetition_penalty" });
}
