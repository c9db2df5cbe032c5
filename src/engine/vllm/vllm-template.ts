/**
 * @module The model's chat template, as vLLM renders it; what delimits in it is read off conversations of known texts.
 */
import { z } from "zod";
import { quoted } from "../../text/quoted.ts";
import type { Conversation } from "../../types/conversation.ts";
import { GatewayError } from "../../types/error.ts";
import type { TemplateVariables, Token } from "../engine.ts";
import { fittingTurns, mapTexts, plainMarkers, textsIn } from "../template/chat-turns.ts";
import { readThoughtRules, renderedThoughts, type ThoughtRules, thoughtMarkers } from "../template/thinking.ts";
import { readTurnRules, type TurnRules, turnProbes } from "../template/turn-rules.ts";
import type { VllmModel } from "./vllm-model.ts";
import { brokenUp, type VllmTokens } from "./vllm-tokenizer.ts";

const rendered = z.object({ tokens: z.array(z.int()), token_strs: z.array(z.string()) });

const turns: Conversation = [
  { role: "user", content: "FIRST-USER-TEXT" },
  { role: "assistant", content: "ASSISTANT-TEXT" },
  { role: "user", content: "SECOND-USER-TEXT" },
];
const system: Conversation = [{ role: "system", content: "SYSTEM-TEXT" }];
const knownTexts = new RegExp([...system, ...turns].map(({ content }) => content).join("|"), "u");

interface Probed {
  readonly rules: TurnRules;
  /** Plain text that delimits turns. */
  readonly delimiters: readonly string[];
  /** The token that closes an assistant's turn; null where none does. */
  readonly end: Token | null;
  /** How thoughts are written; null: the model does not think. */
  readonly thoughts: ThoughtRules | null;
}

export class VllmTemplate {
  readonly #served: VllmModel;
  readonly #tokens: VllmTokens;
  readonly #probed: Probed;

  private constructor(served: VllmModel, tokens: VllmTokens, probed: Probed) {
    this.#served = served;
    this.#tokens = tokens;
    this.#probed = probed;
  }

  /** Null where the model has no chat template. */
  static async open(served: VllmModel, tokens: VllmTokens, signal?: AbortSignal): Promise<VllmTemplate | null> {
    const probe = async (conversation: Conversation, prompt: boolean) =>
      renderOrNull(served, conversation, prompt, signal);
    const shown = async (conversation: Conversation): Promise<string | null> => {
      const rendering = await probe(conversation, true);
      return rendering && tokens.detokenize(rendering.tokens, signal);
    };
    const names = Object.keys(turnProbes) as (keyof typeof turnProbes)[];
    const rendered = await Promise.all(names.map((name) => shown(turnProbes[name])));
    const entries = names.map((name, i): [typeof name, string | null] => [name, rendered[i] ?? null]);
    const rules = readTurnRules(Object.fromEntries(entries) as Record<keyof typeof turnProbes, string | null>);
    const thoughts = await readThoughts(served, tokens, signal);
    const whole = await probe(rules.system === "nowhere" ? turns : [...system, ...turns], true);
    if (whole === null) return null;
    const control = await controlSpellings(whole, tokens, signal);
    const delimiters = plainDelimiters(await tokens.detokenize(whole.tokens, signal), control);
    // Two answers, so that what follows both closes the turn.
    const renderings = await Promise.all(
      ["ASSISTANT-TEXT", "OTHER"].map((content) =>
        probe([...turns.slice(0, 1), { role: "assistant", content }], false),
      ),
    );
    const end = await closingToken(renderings, tokens, signal);
    const markers = thoughtMarkers(thoughts).filter((marker) => !control.includes(marker));
    const all = [...new Set([...delimiters, ...markers])];
    return new VllmTemplate(served, tokens, { rules, delimiters: all, end, thoughts });
  }

  get thoughts(): ThoughtRules | null {
    return this.#probed.thoughts;
  }

  /** Null: the vocabulary's own; what closes the messages of all channels does not end the answer. */
  get end(): Token | null {
    const { thoughts, end } = this.#probed;
    return thoughts?.skipping ? null : end;
  }

  /** Throws "invalid_request" where the template refuses. */
  async encode(conversation: Conversation, signal?: AbortSignal, variables: TemplateVariables = {}): Promise<Token[]> {
    const { rules, delimiters } = this.#probed;
    const messages = fittingTurns(conversation, rules);
    const texts = [...messages.flatMap(({ content, thought = "" }) => [content, thought]), ...textsIn(variables)];
    const all = (text: (content: string) => string): string => texts.map(text).join("\n");
    const spellings = await this.#tokens.spellings(
      all((content) => content),
      signal,
    );
    const disarm = (content: string): string => brokenUp(content, [...spellings, ...delimiters]);
    if (spellings.length > 0 && (await this.#tokens.spellings(all(disarm), signal)).length > 0)
      throw new GatewayError(
        "invalid_request",
        `A message spells the control token ${quoted(spellings[0] ?? "", 40)} in a way that cannot be kept as text.`,
        {
          param: "messages",
        },
      );
    const disarmed = messages.map((message) => ({
      ...message,
      content: disarm(message.content),
      ...(message.thought !== undefined && { thought: disarm(message.thought) }),
    }));
    const { tokens } = await render(this.#served, disarmed, true, signal, mapTexts(variables, disarm));
    return tokens;
  }
}

async function render(
  { model, replicas }: VllmModel,
  conversation: Conversation,
  prompt: boolean,
  signal: AbortSignal | undefined,
  variables: TemplateVariables = {},
) {
  const messages = conversation.map(({ role, content, thought }) => ({
    role,
    content,
    ...(thought !== undefined && { reasoning_content: thought }),
  }));
  const told = Object.keys(variables).length > 0 && { chat_template_kwargs: variables };
  const body = { model, messages, add_generation_prompt: prompt, return_token_strs: true, ...told };
  try {
    return await replicas.json({ path: "/tokenize", body, answer: rendered, signal });
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code !== "invalid_request") throw error;
    throw new GatewayError("invalid_request", `The model's chat template refuses these messages. ${error.message}`, {
      param: "messages",
      cause: error,
      isInternal: error.isInternal,
    });
  }
}

async function readThoughts(
  served: VllmModel,
  tokens: VllmTokens,
  signal: AbortSignal | undefined,
): Promise<ThoughtRules | null> {
  const rendered = await renderedThoughts(async ({ conversation, prompt, variables }) => {
    const rendering = await renderOrNull(served, conversation, prompt, signal, variables);
    return rendering && tokens.detokenize(rendering.tokens, signal);
  });
  return readThoughtRules(rendered);
}

async function renderOrNull(...call: Parameters<typeof render>): Promise<z.infer<typeof rendered> | null> {
  try {
    return await render(...call);
  } catch (error) {
    if (error instanceof GatewayError && error.code === "invalid_request") return null;
    throw error;
  }
}

async function controlSpellings(
  { tokens, token_strs }: z.infer<typeof rendered>,
  own: VllmTokens,
  signal?: AbortSignal,
): Promise<string[]> {
  const spellings = new Map(token_strs.map((spelling, i) => [spelling, tokens[i] as Token]));
  const found: string[] = [];
  for (const [spelling, token] of spellings) if (await own.isControl(token, spelling, signal)) found.push(spelling);
  return found;
}

/** What stands between the known texts: a marker beside a control token, or all of it where there is none. */
function plainDelimiters(text: string, control: readonly string[]): string[] {
  const found = text.split(knownTexts).flatMap((literal) => {
    const runs = control.reduce((parts, spelling) => parts.flatMap((part) => part.split(spelling)), [literal]);
    return runs.length > 1 ? runs.flatMap(plainMarkers) : [literal.trim()];
  });
  return [...new Set(found)].filter((delimiter) => delimiter.length > 1);
}

async function closingToken(
  renderings: readonly (z.infer<typeof rendered> | null)[],
  own: VllmTokens,
  signal?: AbortSignal,
): Promise<Token | null> {
  const [one, other] = renderings;
  if (!one || !other) return null;
  let common = 0;
  while (common < one.tokens.length && one.tokens.at(-1 - common) === other.tokens.at(-1 - common)) common += 1;
  for (let i = one.tokens.length - common; i < one.tokens.length; i++)
    if (await own.isControl(one.tokens[i] as Token, one.token_strs[i] as string, signal)) return one.tokens[i] as Token;
  return null;
}
