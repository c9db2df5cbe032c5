/**
 * @module Calls that a model writes in a way of its own: JSON on a line by itself, a list of them, in a fence or between
 * tags. They are calls if there is nothing else in the block, each has exactly a call's keys, and names a tool that is
 * offered.
 */
import { JsonEnd } from "./json-end.ts";

export interface WrittenCall {
  readonly name: string;
  /** JSON text, as it was written. */
  readonly arguments: string;
}

/** No more is held back: longer JSON is text. */
export const longestBlock = 2 ** 16;
const longestMark = 32;
const fence = /^```[\w-]*[ \t]*$/u;
const tag = /^<(\/?)(tool_calls?|function_calls?|tools?|response|json|xml)>$/iu;

type Phase = "between" | "fence" | "closing-fence" | "tag" | "value";

/** Names of the tools that may be called, and what JSON of a call begins with, without white space. */
export interface OfferedNames {
  readonly names: ReadonlySet<string>;
  readonly beginnings: readonly string[];
}

export function offeredNames(names: ReadonlySet<string>): OfferedNames {
  const named = [...names].map((name) => `{"name":${JSON.stringify(name)},`);
  return { names, beginnings: [...named, '{"type":"function",', '{"arguments":{', '{"parameters":{'] };
}

/** Reads a block character by character, as far as it goes. */
export class CallBlock {
  readonly #offered: OfferedNames;
  /** "open": it may still turn out to be calls, or not. */
  status: "open" | "calls" | "text" = "open";
  readonly calls: WrittenCall[] = [];
  #isFenced = false;
  #tag: string | null = null;
  #phase: Phase = "between";
  #mark = "";
  #value = "";
  #json = new JsonEnd();
  /** The value's beginning without white space, until it is known for one of a call. */
  #head: string | null = "";
  #length = 0;

  constructor(offered: OfferedNames) {
    this.#offered = offered;
  }

  /** How many characters of `text` belong to it. Those up to where it is known to be text do. */
  push(text: string): number {
    for (let i = 0; i < text.length; i++) {
      if (!this.#see(text[i] as string)) return i;
      this.#length += 1;
      if (this.#length > longestBlock) this.status = "text";
      if (this.status !== "open") return i + 1;
    }
    return text.length;
  }

  /** The answer is over: what would close the block may be missing. */
  end(): void {
    if (this.status === "open") this.status = this.calls.length > 0 && this.#phase !== "value" ? "calls" : "text";
  }

  /** False: the character does not belong to the block any more. */
  #see(character: string): boolean {
    switch (this.#phase) {
      case "between":
        return this.#seeBetween(character);
      case "fence":
        this.#seeFence(character);
        return true;
      case "closing-fence":
        this.#mark += character;
        if (!"```".startsWith(this.#mark)) this.status = "text";
        else if (this.#mark === "```") this.status = "calls";
        return true;
      case "tag":
        this.#seeTag(character);
        return true;
      case "value":
        this.#seeValue(character);
        return true;
    }
  }

  #seeBetween(character: string): boolean {
    const [isBare, hasCalls] = [!this.#isFenced && this.#tag === null, this.calls.length > 0];
    if (character === "\n" && isBare && hasCalls) {
      this.status = "calls";
      return false;
    }
    if (/\s/u.test(character) || (hasCalls && /[,;]/u.test(character))) return true;
    this.#mark = character;
    if (character === "{" || character === "[") this.#beginValue(character);
    else if (character === "<") this.#phase = "tag";
    else if (character === "`" && isBare && !hasCalls) this.#phase = "fence";
    else if (character === "`" && this.#isFenced && hasCalls) this.#phase = "closing-fence";
    else this.status = "text";
    return true;
  }

  #seeFence(character: string): void {
    if (character !== "\n") {
      this.#mark += character;
      if (this.#mark.length > longestMark || !(fence.test(this.#mark) || "```".startsWith(this.#mark)))
        this.status = "text";
      return;
    }
    this.#isFenced = fence.test(this.#mark);
    if (this.#isFenced) this.#phase = "between";
    else this.status = "text";
  }

  #seeTag(character: string): void {
    this.#mark += character;
    if (character !== ">") {
      if (this.#mark.length > longestMark) this.status = "text";
      return;
    }
    const [, closing, name = ""] = tag.exec(this.#mark.toLowerCase()) ?? [];
    const hasCalls = this.calls.length > 0;
    if (closing === "" && this.#tag === null && !hasCalls) this.#tag = name;
    else if (closing !== "/" || !hasCalls || (this.#tag ?? name) !== name) this.status = "text";
    else if (!this.#isFenced) this.status = "calls";
    this.#phase = "between";
  }

  #beginValue(character: string): void {
    this.#phase = "value";
    this.#value = "";
    this.#json = new JsonEnd();
    this.#head = "";
    this.#seeValue(character);
  }

  #seeValue(character: string): void {
    this.#value += character;
    this.#json.push(character);
    if (this.#head !== null && !/\s/u.test(character)) this.#seeHead(this.#head + character);
    if (!this.#json.isOver || this.status !== "open") return;
    const calls = callsOf(this.#value, this.#offered.names);
    if (calls === null) this.status = "text";
    for (const call of calls ?? []) this.calls.push(call);
    this.#phase = "between";
  }

  /** What cannot become a call is not held back. */
  #seeHead(head: string): void {
    const first = head.startsWith("[") ? head.slice(1) : head;
    const { beginnings } = this.#offered;
    this.#head = beginnings.some((beginning) => first.startsWith(beginning)) ? null : head;
    if (this.#head !== null && !beginnings.some((beginning) => beginning.startsWith(first))) this.status = "text";
  }
}

/** The calls that a JSON object or list is; null: it is something else. */
function callsOf(text: string, names: ReadonlySet<string>): WrittenCall[] | null {
  try {
    const value: unknown = JSON.parse(text);
    const objects = Array.isArray(value) ? value : [value];
    const written = objectsIn(text);
    const calls = objects.map((object: unknown, i) => callOf(object, written[i] as ReadonlyMap<string, string>, names));
    return calls.length > 0 && calls.every((call) => call !== null) ? calls : null;
  } catch {
    return null;
  }
}

function callOf(object: unknown, written: ReadonlyMap<string, string>, names: ReadonlySet<string>): WrittenCall | null {
  const { name, type = "function", arguments: one, parameters: other, ...rest } = object as Record<string, unknown>;
  const given = one ?? other;
  const isCall = typeof name === "string" && names.has(name) && type === "function" && Object.keys(rest).length === 0;
  if (!isCall || (one !== undefined) === (other !== undefined) || typeof given !== "object" || Array.isArray(given))
    return null;
  return { name, arguments: written.get(one === undefined ? "parameters" : "arguments") ?? "{}" };
}

const key = /[\s,{[\]}]*"((?:[^"\\]|\\.)*)"\s*:\s*/uy;
const scalar = /"(?:[^"\\]|\\.)*"|[^\s,}\]]+/uy;

/** Of valid JSON, an object or a list of them: each one's keys, and its values as they are written. */
function objectsIn(text: string): Map<string, string>[] {
  const objects: Map<string, string>[] = [];
  for (let at = 0; ; ) {
    key.lastIndex = at;
    const found = key.exec(text);
    if (found === null) return objects;
    if (/[{]/u.test(found[0].slice(0, found[0].indexOf('"')))) objects.push(new Map());
    at = key.lastIndex;
    const end = at + lengthOfValue(text, at);
    objects.at(-1)?.set(found[1] ?? "", text.slice(at, end));
    at = end;
  }
}

function lengthOfValue(text: string, at: number): number {
  if (/[{[]/u.test(text[at] ?? "")) return new JsonEnd().push(text, at);
  scalar.lastIndex = at;
  return scalar.exec(text)?.[0].length ?? 0;
}
