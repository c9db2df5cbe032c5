/**
 * @module What retrievers read of a conversation: what is asked, with as much before it as helps. Demonstrations and
 * prompts are read alike. System text, tool results and what stands behind the user's last turn are never read.
 */
import type { Conversation, Message } from "../types/conversation.ts";

/**
 * How BM25 sees turns: their contents joined by a line break; or as the paper's code shows them to it in the formats
 * hh-rlhf and synthetic-gpt, each after its marker, white space trimmed at both ends (`parse` in its load_data).
 */
export type TurnStyle = "lines" | "marked";

const markers = { user: "\n\nHuman: ", assistant: "\n\nAssistant: " } as const;

/** What BM25 reads: all that was said up to the user's last turn; it looks at the last L tokens. */
export function saidText(conversation: Conversation, style: TurnStyle): string {
  const said = turnsOf(conversation);
  if (style === "lines") return said.map(({ content }) => content).join("\n");
  return said
    .map(({ role, content }) => markers[role] + content)
    .join("")
    .trim();
}

/** What is embedded, in two texts. */
export interface Question {
  /** The user's last turn. */
  readonly asked: string;
  /** The user's turns before it, the nearest ones whole; "" where there are none. */
  readonly before: string;
  /** How much `asked` weighs, from 0 to 1; `before` has the rest. */
  readonly weight: number;
}

/** Characters of either text: of a longer question its beginning and its end, where people ask about what they paste. */
const mostCharacters = 256;
/** In bytes of UTF-8: what stands before counts as much as so long a question. */
const weightOfBefore = 30;

/**
 * A follow-up ("and in German?") says little, and a question of its own says all: so a question weighs n / (n + 30), n
 * its bytes, and what the user said before it the rest.
 *
 * @example questionOf(conversation) // { asked: "And in German?", before: "How do I greet a Spaniard?", weight: 0.32 }
 */
export function questionOf(conversation: Conversation): Question {
  const [asked = "", ...earlier] = turnsOf(conversation)
    .filter(({ role }) => role === "user")
    .map(({ content }) => content)
    .toReversed();
  const parts: string[] = [];
  let left = mostCharacters;
  for (const turn of earlier) {
    if (left <= 0) break;
    parts.unshift(turn.slice(0, left).toWellFormed());
    left -= turn.length;
  }
  const before = parts.join("\n");
  const read = endsOf(asked);
  const bytes = new TextEncoder().encode(read).length;
  return { asked: read, before, weight: before === "" ? 1 : bytes / (bytes + weightOfBefore) };
}

/** The texts that embeddings of questions are made of, each once. */
export function questionTexts(questions: readonly Question[]): string[] {
  return [...new Set(questions.flatMap(({ asked, before }) => (before === "" ? [asked] : [asked, before])))];
}

/**
 * `[questions][dimensions]`, of length one: w·e(asked) + (1 − w)·e(before), e an embedding of length one. `embed` is
 * called once.
 */
export async function embedQuestions(
  questions: readonly Question[],
  embed: (texts: readonly string[]) => Promise<readonly Float32Array[]>,
): Promise<Float32Array[]> {
  const texts = questionTexts(questions);
  const vectors = await embed(texts);
  const embeddings = new Map(texts.map((text, i) => [text, vectors[i] as Float32Array]));
  return questions.map(({ asked, before, weight }) => {
    const own = embeddings.get(asked) as Float32Array;
    const other = embeddings.get(before);
    return other === undefined || weight === 1 ? own : mixed(own, other, weight);
  });
}

function mixed(own: Float32Array, other: Float32Array, weight: number): Float32Array {
  const sum = own.map((value, i) => weight * value + (1 - weight) * (other[i] as number));
  // Two that point opposite ways may leave nothing.
  const length = Math.hypot(...sum) || 1;
  return sum.map((value) => value / length);
}

type Turn = Message & { readonly role: "user" | "assistant" };

function turnsOf(conversation: Conversation): readonly Turn[] {
  const turns = conversation.filter(
    (message): message is Turn => message.role === "user" || message.role === "assistant",
  );
  const last = turns.findLastIndex(({ role }) => role === "user");
  return last < 0 ? turns : turns.slice(0, last + 1);
}

function endsOf(text: string): string {
  if (text.length <= mostCharacters) return text;
  const half = mostCharacters / 2;
  return `${text.slice(0, half)}\n${text.slice(-half)}`.toWellFormed();
}
