/**
 * @module Words that are not the program's own, in lines that people read: nothing in them may act on a terminal or
 * begin a line.
 */

const usualMost = 300;

/**
 * What JSON leaves as it is, though terminals or viewers act on it: C1 controls, other line breaks, marks and changes
 * of direction.
 */
const acting = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;

/** A JSON string on one line, of at most so many characters of the text. */
export function quoted(text: string, most = usualMost): string {
  return spelledOut(JSON.stringify(text.length > most ? `${text.slice(0, most)}…` : text));
}

/** JSON text that means the same, and in which no character acts on a terminal. */
export function spelledOut(json: string): string {
  return json.replace(acting, escaped);
}

/** Lines of text without any other control character: tabs and line breaks stay. */
export function harmless(lines: string): string {
  return spelledOut(lines.replace(controls, escaped));
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that are taken out
const controls = /[\u0000-\u0008\u000b-\u001f]/gu;

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
