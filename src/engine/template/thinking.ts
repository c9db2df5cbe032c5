/**
 * @module How a model's thoughts are written before its answers, found out by rendering its chat template with thinking
 * on, off and unset.
 */
import type { Conversation, Message } from "../../types/conversation.ts";
import type { TemplateVariables, Thinking, Token } from "../engine.ts";

/** How thoughts are written, as text in which control tokens are spelled. */
export interface ThoughtRules {
  /** What the template is told for a prompt that thinks. */
  readonly on: TemplateVariables;
  /** What it is told for one that does not; null: thinking cannot be turned off. */
  readonly off: TemplateVariables | null;
  /** Follows a prompt that thinks, where it has not opened the thought itself. */
  readonly opening: string;
  /** Follows a prompt that does not think, before the answer; mostly nothing. */
  readonly skipping: string;
  /** White space that the template writes between a thought and what closes it. */
  readonly space: string;
  /** What the model writes to close its thought. */
  readonly marker: string;
  /** What stands between that and the answer. */
  readonly after: string;
  /** A prompt thinks, where the template is told nothing of it. */
  readonly byDefault: boolean;
  /** The levels of effort that the template knows, by the variable `reasoning_effort`; empty: none. */
  readonly efforts: readonly string[];
}

const user: Message = { role: "user", content: "PROBE-USER" };
const [thought, answer] = ["PROBE-THOUGHT", "PROBE-ANSWER"];
/** The variables by which templates turn thinking on and off. */
export const thinkingSwitches = ["enable_thinking", "thinking"] as const;
const efforts = ["low", "medium", "high"] as const;

/** What a template is asked to render. */
export interface ThoughtProbe {
  readonly conversation: Conversation;
  /** Ready for the assistant's turn; if not, over. */
  readonly prompt: boolean;
  readonly variables: TemplateVariables;
}

const told = (variables: TemplateVariables): ThoughtProbe => ({ conversation: [user], prompt: true, variables });

const thoughtProbes: Readonly<Record<string, ThoughtProbe>> = {
  unset: told({}),
  recalled: {
    conversation: [user, { role: "assistant", content: answer, thought }],
    prompt: false,
    variables: {},
  },
  ...Object.fromEntries(
    thinkingSwitches.flatMap((name) => [true, false].map((value) => [`${name} ${value}`, told({ [name]: value })])),
  ),
  ...Object.fromEntries(efforts.map((effort) => [effort, told({ reasoning_effort: effort })])),
};

/** What the template makes of each of the probes; null: it refuses. */
export type RenderedThoughts = Readonly<Record<string, string | null>>;

/** What all of the probes come to. `render`: null where the template refuses. */
export async function renderedThoughts(
  render: (probe: ThoughtProbe) => Promise<string | null>,
): Promise<RenderedThoughts> {
  const entries = Object.entries(thoughtProbes).map(async ([name, probe]) => [name, await render(probe)]);
  return Object.fromEntries(await Promise.all(entries));
}

/** The same, of a template that is at hand. */
export function renderThoughts(render: (probe: ThoughtProbe) => string | null): RenderedThoughts {
  return Object.fromEntries(Object.entries(thoughtProbes).map(([name, probe]) => [name, render(probe)]));
}

/** `<think>`, `<|think|>`, `<seed:think>`, `[THINK]`: what opens a thought, at a prompt's end. */
const openMarker = String.raw`(?:<[^<>\s/]*think(?:ing)?[^<>\s/]*>|\[THINK(?:ING)?\])`;
const opened = new RegExp(`(${openMarker})(\\s*)$`, "u");
const closeMarker = String.raw`(?:<[^<>\s]*/[^<>\s]*think(?:ing)?[^<>\s]*>|\[/THINK(?:ING)?\])`;
const emptyThought = new RegExp(`(${openMarker})(\\s*)(${closeMarker})(\\s*)$`, "u");
const named = new RegExp(openMarker, "u");
const closed = new RegExp(`(${closeMarker})(\\s*)$`, "u");

/**
 * `source`: the template itself; absent: it is not known. Null: the model does not think, or nobody can tell where its
 * thoughts end.
 *
 * @example
 * readThoughtRules(qwen3, source); // opening "<think>\n", marker "</think>", after "\n\n", off { enable_thinking: false }
 */
export function readThoughtRules(rendered: RenderedThoughts, source = ""): ThoughtRules | null {
  const { unset = null } = rendered;
  if (unset === null) return null;
  const common = { efforts: effortsOf(rendered, unset) };
  const channels = channelsIn(unset, source);
  if (channels !== null) return { ...channels, ...common };
  for (const name of thinkingSwitches) {
    const [on, off] = [rendered[`${name} true`], rendered[`${name} false`]];
    if (!on || !off || on === off) continue;
    const markers = markersOf(rendered, { on, off });
    if (markers === null) continue;
    const variables = { on: { [name]: true }, off: { [name]: false } };
    return { ...variables, ...markers, skipping: "", byDefault: unset === on, ...common };
  }
  // No switch: it thinks where its prompts open a thought, or ask for one.
  if (!opened.test(unset) && !named.test(unset)) return null;
  const markers = markersOf(rendered, { on: unset, off: "" });
  return markers && { on: {}, off: null, ...markers, skipping: "", byDefault: true, ...common };
}

/** gpt-oss: messages on channels, of which the last is the answer. */
function channelsIn(unset: string, source: string): Omit<ThoughtRules, "efforts"> | null {
  const begins = "<|start|>assistant";
  if (!unset.endsWith(begins) || !`${unset}${source}`.includes("<|channel|>")) return null;
  const final = "<|channel|>final<|message|>";
  return {
    on: {},
    off: {},
    opening: "<|channel|>analysis<|message|>",
    skipping: final,
    space: "",
    marker: "<|end|>",
    after: `${begins}${final}`,
    byDefault: true,
  };
}

type Markers = Pick<ThoughtRules, "opening" | "space" | "marker" | "after">;

/** From what stands around an empty thought, a thought of the history, or before one that the prompt opens. */
function markersOf(
  { recalled = null }: RenderedThoughts,
  { on, off }: { readonly on: string; readonly off: string },
): Markers | null {
  const begun = opened.exec(on);
  const empty = emptyThought.exec(off);
  const shown = aroundThought(recalled);
  const skipped = closed.exec(off);
  const marker = empty?.[3] ?? shown?.marker ?? skipped?.[1] ?? closingOf(begun?.[1] ?? named.exec(on)?.[0]);
  if (marker === undefined) return null;
  const [, mark = marker.replace("/", ""), white = ""] = begun ?? [];
  // Of the white space in an empty thought half stands before what is thought.
  const inside = empty?.[2] ?? "";
  const half = Math.ceil(inside.length / 2);
  return {
    opening: begun === null ? `${mark}${shown?.before ?? inside.slice(0, half)}` : "",
    space: shown?.space ?? (empty === null ? white : inside.slice(half)),
    marker,
    after: shown?.after ?? empty?.[4] ?? skipped?.[2] ?? (white === "" ? "" : "\n\n"),
  };
}

/** What the template writes around a thought of the assistant's last turn; null: it leaves it out. */
function aroundThought(
  text: string | null,
): { readonly before: string; readonly space: string; readonly marker: string; readonly after: string } | null {
  const form = new RegExp(`${openMarker}(\\s*)${thought}(\\s*)(${closeMarker})(\\s*)${answer}`, "u");
  const [, before, space, marker, after] = (text === null ? null : form.exec(text)) ?? [];
  if (before === undefined || space === undefined || marker === undefined || after === undefined) return null;
  return { before, space, marker, after };
}

function closingOf(opening: string | undefined): string | undefined {
  return opening?.replace(/^([<[]\|?)/u, "$1/");
}

/** Those that change the prompt, each in its own way. */
function effortsOf(rendered: RenderedThoughts, unset: string): string[] {
  const prompts = efforts.map((effort) => rendered[effort] ?? null);
  const isKnown = prompts.some((prompt) => prompt !== null && prompt !== unset);
  return isKnown ? efforts.filter((_, i) => prompts[i] !== null && prompts.indexOf(prompts[i] as string) === i) : [];
}

/** What opens and closes thoughts: content must not be able to write it. */
export function thoughtMarkers(rules: ThoughtRules | null): string[] {
  if (rules === null) return [];
  const marks = /<[^<>\s]+>|\[\/?[A-Z]+\]/gu;
  const opening = rules.marker.replace("/", "");
  return [
    ...new Set([
      opening,
      ...[rules.opening, rules.skipping, rules.marker, rules.after].flatMap((text) => text.match(marks) ?? []),
    ]),
  ];
}

/** How thoughts are written, in tokens; absent where the model does not think. */
export async function thinkingOf(
  rules: ThoughtRules | null,
  tokenize: (text: string) => readonly Token[] | Promise<readonly Token[]>,
): Promise<Thinking | undefined> {
  if (rules === null) return undefined;
  const { on, off, opening, skipping, space, marker, after, byDefault, efforts } = rules;
  const texts = [opening, skipping, marker, marker + after];
  const [opens = [], skips = [], mark = [], closing = []] = await Promise.all(
    texts.map((text) => (text === "" ? [] : tokenize(text))),
  );
  const [token, ...others] = mark;
  const isOne = token !== undefined && others.length === 0;
  return {
    on,
    off,
    opening: opens,
    skipping: skips,
    marker,
    ...(isOne && { markerToken: token }),
    space,
    closing,
    byDefault,
    efforts,
  };
}
