/** @module Texts as checks compare them: whatever the case, the form of Unicode, the quotes and the white space. */

/** Compatible characters composed, small letters, straight quotes and hyphens, single spaces. */
export function comparable(text: string): string {
  return text
    .normalize("NFKC")
    .toLowerCase()
    .replace(/[\u2018\u2019\u201b\u02bc]/gu, "'")
    .replace(/[\u201c-\u201f\u00ab\u00bb]/gu, '"')
    .replace(/[\u2010-\u2015\u2212]/gu, "-")
    .replace(/\p{Cf}/gu, "")
    .replace(/\s+/gu, " ");
}

/** Whether `part` stands in `text`; with `whole`, with neither letter nor digit beside it. */
export function holds(text: string, part: string, whole = false): boolean {
  const [all, wanted] = [comparable(text), comparable(part)];
  if (!whole) return all.includes(wanted);
  const sought = wanted.trim();
  for (let at = all.indexOf(sought); at >= 0; at = all.indexOf(sought, at + 1))
    if (
      !isWordPart(lastCharacter(all.slice(Math.max(0, at - 2), at))) &&
      !isWordPart(firstCharacter(all, at + sought.length))
    )
      return true;
  return false;
}

function isWordPart(character: string): boolean {
  return /^[\p{L}\p{M}\p{N}_]$/u.test(character);
}

function firstCharacter(text: string, at: number): string {
  const code = text.codePointAt(at);
  return code === undefined ? "" : String.fromCodePoint(code);
}

function lastCharacter(text: string): string {
  return [...text].at(-1) ?? "";
}
