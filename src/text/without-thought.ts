/** @module Answers of models that think, where nobody has told their thoughts apart. */

interface Marks {
  readonly opening: string;
  readonly closing: string;
}

/** As templates write them: Qwen3, DeepSeek-R1 and most others; Mistral. */
export const thoughtMarks: readonly Marks[] = [
  ...["think", "thinking", "thought", "seed:think"].map((name) => ({ opening: `<${name}>`, closing: `</${name}>` })),
  { opening: "[THINK]", closing: "[/THINK]" },
];

const channelStart = /^(?:<\|start\|>assistant)?<\|channel\|>(\w+)[^\n]{0,200}?<\|message\|>/u;
const channelEnd = /<\|(?:end|return|call)\|>/u;

/**
 * What a model answers, without what it thought before: a text that begins with a thought goes on after it. "" where a
 * thought never ends, for it was cut off. Where the prompt has opened the thought, the text has its end alone, which
 * counts where it begins a line. Any other text is returned as it is, for an answer may speak of these marks.
 *
 * @example withoutThought("<think>\nTwo and two…\n</think>\n\nFour.") // "Four."
 */
export function withoutThought(text: string): string {
  const begun = text.trimStart();
  if (channelStart.test(begun)) return finalChannel(begun);
  const after = afterThoughts(begun);
  return after === begun ? afterOpenedThought(text) : after;
}

/** Behind all thoughts that it begins with. */
function afterThoughts(text: string): string {
  let rest = text;
  for (;;) {
    const mark = thoughtMarks.find(({ opening }) => rest.startsWith(opening));
    if (mark === undefined) return rest;
    const end = rest.indexOf(mark.closing, mark.opening.length);
    if (end < 0) return "";
    rest = rest.slice(end + mark.closing.length).trimStart();
  }
}

function afterOpenedThought(text: string): string {
  for (const { opening, closing } of thoughtMarks) {
    const end = text.startsWith(closing) ? 0 : text.indexOf(`\n${closing}`) + 1;
    const isClosed = text.startsWith(closing, end);
    if (isClosed && !text.slice(0, end).includes(opening)) return text.slice(end + closing.length).trimStart();
  }
  return text;
}

/** gpt-oss: messages on channels, of which the one called "final" is the answer. */
function finalChannel(text: string): string {
  for (let rest = text; ; ) {
    const [start, channel] = channelStart.exec(rest) ?? [];
    if (start === undefined) return "";
    const message = rest.slice(start.length);
    const end = channelEnd.exec(message);
    if (channel === "final") return message.slice(0, end?.index).trim();
    if (end === null) return "";
    rest = message.slice(end.index + end[0].length).trimStart();
  }
}
