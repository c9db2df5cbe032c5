/**
 * @module The model's own chat template, rendered so that no content can act as a delimiter: the spelling of a control
 * token inside a message is tokenised as plain text; a delimiter that is itself plain text (`[INST]`, `<|user|>` in
 * some vocabularies) is broken up by a space.
 */
import { Template } from "@huggingface/jinja";
import { parsedJson } from "../../text/json.ts";
import type { Conversation, Tool, ToolSyntax } from "../../types/conversation.ts";
import { GatewayError, messageOf } from "../../types/error.ts";
import type { TemplateVariables, Token } from "../engine.ts";
import { fittingTurns, mapTexts, plainMarkers } from "./chat-turns.ts";
import { readThoughtRules, renderThoughts, type ThoughtRules, thoughtMarkers } from "./thinking.ts";
import { probeToolSyntax, type Render, toolMarkers } from "./tool-syntax.ts";
import { callProbes, readTurnRules, renderedProbes, type TurnRules, turnProbes } from "./turn-rules.ts";

/** What the template needs to know of the model's vocabulary. */
export interface TemplateVocabulary {
  readonly bos: string;
  readonly eos: string;
  readonly endOfSequence: Token;
  /** Spellings of the control tokens, never made from plain text. */
  readonly control: ReadonlyMap<string, Token>;
  /** Spellings of other whole tokens that plain text does make (user-defined ones). */
  readonly userDefined: readonly string[];
}

/** A vocabulary with its tokenizer at hand. */
export interface Vocabulary extends TemplateVocabulary {
  /** Plain text: control tokens are not recognised. */
  tokenize(text: string): Token[];
  /** Text of a template: control tokens are recognised. */
  tokenizeSpecial(text: string): Token[];
}

/**
 * A conversation as the template writes it. "text": the spelling of a control token is one. "runs": some content holds
 * such a spelling, so the control tokens stand as ids between runs of plain text, in which none is to be recognised.
 */
export type Rendering =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "runs"; readonly runs: readonly (Token | string)[] };

/** Private-use characters, one of which marks a control token's spelling as content's own. */
const firstMark = 0xe000;
const lastMark = 0xf8ff;

export class ChatTemplate {
  readonly #template: Template;
  readonly #vocabulary: TemplateVocabulary;
  readonly #control: RegExp;
  readonly #rules: TurnRules;
  readonly #plainDelimiters: readonly string[];
  /** The token that closes an assistant's turn: the template's own, or where it writes channels the vocabulary's. */
  readonly end: Token;
  /** Other control tokens by which a turn is left: they stand between an answer and the next turn. */
  readonly leaves: readonly Token[];
  /** How thoughts are written; null: the model does not think. */
  readonly thoughts: ThoughtRules | null;
  /** The template's own tool calls, if it has any that can be read. */
  readonly tools: ToolSyntax | null;

  constructor(source: string, vocabulary: TemplateVocabulary) {
    this.#template = new Template(source);
    this.#vocabulary = vocabulary;
    this.#control = anyOf([...vocabulary.control.keys()]);
    const render: Render = (messages, tools, prompt) => this.#render(messages, tools, prompt);
    this.tools = probeToolSyntax(render, this.#control);
    this.#rules = this.#readRules();
    const thoughts = renderThoughts((probe) => this.#rendered(probe.conversation, probe.prompt, probe.variables));
    this.thoughts = readThoughtRules(thoughts, source);
    const { delimiters, end, leaves } = this.#probe();
    const markers = [...(this.tools === null ? [] : toolMarkers(render)), ...thoughtMarkers(this.thoughts)];
    const plain = markers.filter((marker) => !vocabulary.control.has(marker));
    this.#plainDelimiters = [...new Set([...delimiters, ...plain])];
    // What closes the messages of all channels does not end the answer.
    this.end = this.thoughts?.skipping ? vocabulary.endOfSequence : end;
    this.leaves = leaves.filter((token) => token !== this.end);
  }

  /**
   * The conversation, ready for the assistant's turn. `variables`: what else the template is told. Throws
   * "invalid_request" with the template's own words where it refuses.
   */
  render(conversation: Conversation, tools: readonly Tool[] = [], variables: TemplateVariables = {}): Rendering {
    return this.#rendering(conversation, tools, true, variables);
  }

  /** The conversation, over: its last message is the assistant's. Throws as `render` does. */
  renderWhole(conversation: Conversation): Rendering {
    return this.#rendering(conversation, [], false);
  }

  #rendering(
    conversation: Conversation,
    tools: readonly Tool[],
    addGenerationPrompt: boolean,
    variables: TemplateVariables = {},
  ): Rendering {
    const messages = fittingTurns(conversation, this.#rules);
    const mark = unusedMark(JSON.stringify([messages, tools, variables]));
    const disarm = (text: string): string => this.#disarm(text, mark);
    const text = this.#render(
      mapTexts(messages, disarm),
      mapTexts(tools, disarm),
      addGenerationPrompt,
      mapTexts(variables, disarm),
    );
    if (!text.includes(mark)) return { type: "text", text };
    const runs = text.split(this.#control).filter((run) => run !== "");
    return { type: "runs", runs: runs.map((run) => this.#vocabulary.control.get(run) ?? run.replaceAll(mark, "")) };
  }

  #disarm(content: string, mark: string): string {
    let text = content;
    for (const delimiter of this.#plainDelimiters)
      text = text.replaceAll(delimiter, `${delimiter[0]} ${delimiter.slice(1)}`);
    // Marked after every character: what is left of a spelling must not hold another's.
    const disarmed = (run: string): string => Array.from(run, (character) => character + mark).join("");
    return text
      .split(this.#control)
      .map((run) => (this.#vocabulary.control.has(run) ? disarmed(run) : run))
      .join("");
  }

  #render(
    messages: Conversation,
    tools: readonly Tool[],
    addGenerationPrompt: boolean,
    variables: TemplateVariables = {},
  ): string {
    try {
      return this.#template.render({
        ...variables,
        messages: templateMessages(messages),
        ...(tools.length > 0 && { tools: tools.map((tool) => ({ type: "function", function: { ...tool } })) }),
        add_generation_prompt: addGenerationPrompt,
        bos_token: this.#vocabulary.bos,
        eos_token: this.#vocabulary.eos,
      });
    } catch (error) {
      const reason = messageOf(error);
      throw new GatewayError("invalid_request", `The model's chat template refuses these messages: ${reason}`, {
        param: "messages",
        cause: error,
      });
    }
  }

  /** Null: the template refuses. */
  #rendered(messages: Conversation, prompt = true, variables?: TemplateVariables): string | null {
    try {
      return this.#render(messages, [], prompt, variables);
    } catch {
      return null;
    }
  }

  #readRules(): TurnRules {
    const rendered = (messages: Conversation): string | null => this.#rendered(messages);
    const calls = this.tools === null ? undefined : renderedProbes(callProbes, rendered);
    return readTurnRules(renderedProbes(turnProbes, rendered), calls);
  }

  /** Renders a conversation of known texts and reads the delimiters off what stands between them. */
  #probe(): { delimiters: string[]; end: Token; leaves: Token[] } {
    const { control, endOfSequence, userDefined } = this.#vocabulary;
    const probes: Conversation = [
      ...(this.#rules.system !== "nowhere" ? [{ role: "system", content: "SYSTEM-TEXT" } as const] : []),
      { role: "user", content: "FIRST-USER-TEXT" },
      { role: "assistant", content: "ASSISTANT-TEXT" },
      { role: "user", content: "SECOND-USER-TEXT" },
    ];
    const rendered = this.#render(probes, [], true);
    const literals = rendered.split(new RegExp(probes.map(({ content }) => content).join("|"), "u"));
    const plain = literals.flatMap((literal) =>
      this.#control.test(literal)
        ? literal.split(this.#control).flatMap((run) => (this.#control.test(run) ? [] : plainMarkers(run)))
        : [literal.trim()],
    );
    const whole = userDefined.filter(
      (spelling) => spelling.trim() !== "" && literals.some((literal) => literal.includes(spelling)),
    );
    const [, afterAssistant = ""] = rendered.split("ASSISTANT-TEXT");
    const between = afterAssistant.split("SECOND-USER-TEXT")[0]?.split(this.#control) ?? [];
    const leaves = between.flatMap((run) => control.get(run) ?? []);
    const closing = between.find((run) => control.has(run));
    return {
      leaves: [...new Set(leaves)],
      delimiters: [...new Set([...plain, ...whole])].filter((delimiter) => delimiter.length > 1),
      end: closing === undefined ? endOfSequence : (control.get(closing) as Token),
    };
  }
}

/** The tokens of what a template has written. */
export function renderedTokens(rendering: Rendering, vocabulary: Vocabulary): Token[] {
  if (rendering.type === "text") return vocabulary.tokenizeSpecial(rendering.text);
  return rendering.runs.flatMap((run) => (typeof run === "number" ? run : vocabulary.tokenize(run)));
}

/** Messages as templates know them: arguments as an object, where they are one; results with their tool's name. */
export function templateMessages(conversation: Conversation): Record<string, unknown>[] {
  const calls = conversation.flatMap(({ toolCalls = [] }) => toolCalls);
  const names = new Map(calls.map(({ id, name }) => [id, name]));
  return conversation.map(({ role, content, thought, toolCalls, toolCallId, name = names.get(toolCallId ?? "") }) => ({
    role,
    content,
    ...(thought !== undefined && { reasoning_content: thought }),
    // Templates that know thoughts by this name show them before calls, and refuse them beside an answer.
    ...(thought !== undefined && toolCalls && content === "" && { thinking: thought }),
    ...(toolCalls && {
      tool_calls: toolCalls.map((call) => ({
        id: call.id,
        type: "function",
        function: { name: call.name, arguments: parsedArguments(call.arguments) },
      })),
    }),
    ...(toolCallId !== undefined && { tool_call_id: toolCallId }),
    ...(name !== undefined && { name }),
  }));
}

function parsedArguments(text: string): unknown {
  const given = parsedJson(text);
  return given === undefined ? text : given;
}

function unusedMark(text: string): string {
  for (let code = firstMark; code <= lastMark; code++) {
    const mark = String.fromCharCode(code);
    if (!text.includes(mark)) return mark;
  }
  throw new GatewayError("invalid_request", "The messages use every private-use character of Unicode's first plane.", {
    param: "messages",
  });
}

/** Matches the longest of the spellings, and none where there are none; texts that it splits keep what it matched. */
export function anyOf(spellings: readonly string[]): RegExp {
  if (spellings.length === 0) return /(?!)/u;
  const longestFirst = spellings.toSorted((a, b) => b.length - a.length);
  return new RegExp(`(${longestFirst.map(escapeRegExp).join("|")})`, "u");
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/gu, "\\$&");
}
